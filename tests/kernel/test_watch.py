"""`%aegis watch` in a real kernel: saves are live whatever the cell does, and its output says so."""

import json
import time
from queue import Empty

import httpx
import pytest

FILE = """\
__version__ = "1.0.{number}"
from aegis import Model
import pricing

class Order(Model, endpoint="orders"):
    text: str = "{number}"

    def price(self):
        return pricing.PRICE
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pricing.py").write_text("PRICE = 3\n")
    (tmp_path / "orders.py").write_text(FILE.format(number=0))
    return tmp_path


class Cell:
    """A cell that was begun: the messages that belong to it."""

    def __init__(self, kernel, code):
        self.client = kernel.client
        self.id = self.client.execute(code)
        self.shown = []
        self.displays = {}

    def hear(self, wanted, timeout=30):
        """Messages until one is `wanted`; those of other cells are an error where they update."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            content = message["content"]
            if message["msg_type"] in ("display_data", "update_display_data"):
                assert message["parent_header"]["msg_id"] == self.id
                assert content["transient"]["display_id"]
                self.shown.append(content["data"])
            if wanted(message):
                return message
        raise AssertionError(f"not heard; shown was {self.shown}")

    def ended(self):
        self.hear(
            lambda message: (
                message["msg_type"] == "status"
                and message["content"]["execution_state"] == "idle"
                and message["parent_header"]["msg_id"] == self.id
            )
        )

    def until_shown(self, text):
        self.hear(lambda _: bool(self.shown) and text in self.shown[-1]["text/plain"])
        return self.shown[-1]


def test_saves_are_live_in_the_cells_output_in_names_and_on_the_api(start_kernel, folder):
    kernel = start_kernel(folder, AEGIS_EPHEMERAL="1", AEGIS_TOKEN="t")
    address = kernel.value("host.address")
    headers = {"Authorization": "Bearer t"}

    def components():
        return httpx.get(f"{address}/aegis/api/components", headers=headers).json()

    cell = Cell(kernel, "%aegis watch orders.py")
    cell.ended()
    assert "orders 1.0.0 (" in cell.shown[-1]["text/plain"]
    assert "from orders.py: live at " in cell.shown[-1]["text/html"]
    assert kernel.value("Order(id='1', text='x').price()") == "3"

    # While another cell keeps the kernel busy.
    busy = Cell(kernel, "import time\ntime.sleep(4)")
    time.sleep(0.3)
    (folder / "orders.py").write_text(FILE.format(number=1))
    cell.until_shown("orders 1.0.1 (")
    (folder / "pricing.py").write_text("PRICE = 1 / 0\n")
    shown = cell.until_shown("is broken")
    for form in ("text/plain", "text/html"):
        assert "PRICE = 1 / 0" in shown[form]
        assert "pricing.py, line 1: ZeroDivisionError" in shown[form]
        assert "orders 1.0.1" in shown[form]
        assert "still serves" in shown[form]
    assert "_import" not in shown["text/plain"]
    assert "pricing.py, line 1" in json.dumps(components())
    (folder / "pricing.py").write_text("PRICE = 4\n")
    assert "\x1b" not in cell.until_shown("3 saves")["text/plain"]
    assert "pricing.py, line 1" not in json.dumps(components())
    Cell.ended(busy)

    assert kernel.value("Order(id='1', text='x').price()") == "4"
    assert kernel.value("host.create(Order).text") == "1"
    assert "orders 1.0.1" in kernel.run("%aegis watch").result
    Cell(kernel, "%aegis unwatch orders.py")
    # It is the output of the cell that followed which says so.
    assert "orders.py: followed until" in cell.until_shown("no more")["text/html"]
    (folder / "orders.py").write_text(FILE.format(number=2))
    time.sleep(0.5)
    assert kernel.value("host.create(Order).text") == "1"
    assert kernel.run("%aegis watch").result == "nothing is followed"


def test_a_broken_file_is_followed_and_a_missing_one_is_an_error(start_kernel, folder):
    kernel = start_kernel(folder, AEGIS_EPHEMERAL="1")
    (folder / "orders.py").write_text("def f(:\n")
    cell = Cell(kernel, "%aegis watch orders.py orders 1.0.0")
    cell.ended()
    assert "orders.py is broken since" in cell.shown[-1]["text/plain"]
    assert "def f(:" in cell.shown[-1]["text/plain"]
    (folder / "orders.py").write_text(FILE.format(number=7))
    cell.until_shown("orders 1.0.0 (")
    reply = kernel.run("%aegis watch nowhere.py")
    assert "there is no file" in reply.traceback
    assert "following.py" not in reply.traceback
    assert "is not followed" in kernel.run("%aegis unwatch nowhere.py").traceback
    assert "'Orders' is no component name" in kernel.run("%aegis watch orders.py Orders 1").stderr


def test_a_cell_takes_the_files_it_imports_anew_whenever_it_runs(start_kernel, folder):
    kernel = start_kernel(folder, AEGIS_EPHEMERAL="1")
    code = "%%component orders 1.0.0\n" + FILE.partition("\n")[2].format(number=0)
    assert kernel.run(code).status == "ok"
    assert kernel.value("Order(id='1', text='x').price()") == "3"
    (folder / "pricing.py").write_text("PRICE = 5\n")
    assert kernel.run(code).status == "ok"
    assert kernel.value("Order(id='1', text='x').price()") == "5"
    (folder / "pricing.py").write_text("PRICE = 5\n1 / 0\n")
    reply = kernel.run(code)
    assert "pricing.py, line 2: ZeroDivisionError" in reply.traceback
    assert "1 / 0" in reply.traceback
    assert "_found" not in reply.traceback
    assert kernel.value("'pricing' in __import__('sys').modules") == "False"


def test_the_output_says_that_nothing_is_followed_any_more_when_the_kernel_ends(
    start_kernel, folder
):
    kernel = start_kernel(folder, AEGIS_EPHEMERAL="1")
    cell = Cell(kernel, "%aegis watch orders.py")
    cell.ended()
    assert "live at" in cell.shown[-1]["text/plain"]
    kernel.client.shutdown(restart=True)
    assert "orders.py: followed until" in cell.until_shown("no more")["text/plain"]
