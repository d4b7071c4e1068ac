"""`aegis-serve --watch`: what is saved serves, or what served before does and it says why."""

import json
import re
import signal
import threading
import time

import pytest

from tests.serve.process import cell, write
from tests.wasm.parcels import parcels

NOTES = """\
%%component notes 1.0.{number}
from aegis import Model

class Note(Model, endpoint="notes"):
    text: str = "{number}"
"""
TODOS = NOTES.replace("Note", "Todo").replace("notes", "todos")


def notes(number, text=NOTES):
    return text.format(number=number)


@pytest.fixture
def watch(serve, tmp_path):
    """Serves cells with --watch; `save(*cells)` writes them anew."""

    clients = []

    class Watched:
        path = tmp_path / "shop.ipynb"

        def __init__(self, *cells, words=("--ephemeral",)):
            self.serving = serve(cells, "--watch", *words)
            self.client = self.serving.ready()
            clients.append(self.client)
            self.serving.expect("serving .* after")

        def save(self, *cells):
            # As Jupyter does: written aside, then renamed.
            write(self.path.with_suffix(".tmp"), *cells).replace(self.path)

        def new(self, endpoint="notes"):
            """The text of a new record: which revision made it."""
            return self.client.post(f"/aegis/api/models/{endpoint}", json={}).json().get("text")

        def until_new(self, text, endpoint="notes"):
            until(lambda: self.new(endpoint) == text)

        @property
        def problems(self):
            return json.dumps(self.client.get("/aegis/api/components").json()["problems"])

    yield Watched
    for client in clients:
        client.close()


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_saved_notebook_serves_with_the_records_that_were_there(watch):
    watched = watch(notes(0), "host.create(Note, text='from the cell')")
    for number in range(1, 4):
        watched.save(notes(number), "host.create(Note, text='from the cell')")
        watched.until_new(str(number))
    listed = watched.client.get("/aegis/api/models/notes?limit=1000").json()["items"]
    # Cells that create data have created it once; later they do so in the rehearsal only.
    assert [item["text"] for item in listed].count("from the cell") == 1
    watched.serving.expect(r"shop\.ipynb is live \d+ ms after it was saved")
    assert watched.serving.end() == 0
    # The rehearsal's own address leads nowhere once it is over.
    printed = watched.serving.printed
    assert "is tried beside what serves" in printed
    assert set(re.findall(r"http://[^ ]+:\d+", printed)) == {watched.serving.address()}


def test_a_cell_of_webassembly_text_is_reloaded_like_one_of_python(watch):
    watched = watch(parcels(), notes(0))
    client = watched.client

    def price(grams):
        made = client.post("/aegis/api/models/parcels", json={"grams": grams}).json()
        return client.post(
            f"/aegis/api/models/parcels/{made['id']}/commands/again", json={}
        ).json()["price"]

    assert price(7) == 1000
    watched.save(parcels("parcels 1.1.0", ("7000", "14000")), notes(1))
    watched.until_new("1")
    assert price(7) == 2000
    watched.save(parcels("parcels 1.2.0", ("$number (local", "$nmber (local")), notes(2))
    watched.serving.expect(r"cell 1 .*failed at line 20: .*\$nmber")
    assert price(7) == 2000
    assert watched.new() == "1"
    watched.serving.expect("what served before serves on")
    assert watched.serving.end() == 0


def test_only_a_change_of_code_counts(watch):
    skipped = cell("print('skipped')", "aegis-skip")
    watched = watch(notes(0), "print('ran')", skipped)
    ran = cell("print('ran')", id="another")
    ran |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": "ran"}]}
    ran |= {"execution_count": 7, "metadata": {"collapsed": True}}
    for number in range(3):
        text = f"# Title {number}"
        watched.save(notes(0), cell(text, kind="markdown"), ran, cell(text, "aegis-skip"))
        time.sleep(0.2)
    watched.save(notes(1), ran)
    watched.until_new("1")
    assert watched.serving.printed.count("ran") == 2
    assert "skipped" not in watched.serving.printed
    # A tag that leaves a cell out is code.
    watched.save(notes(1), cell("print('ran')", "aegis-skip"))
    until(lambda: watched.serving.said.count("is live") == 2)
    assert watched.serving.end() == 0


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([notes(1), "x = 1\n1 / 0"], r"cell 2.* failed at line 2: 1 / 0"),
        ([notes(1), "import time\ntime.sleep(60)"], r"cell 2 did not end within 2 s"),
        ([notes(1) + "    1 / 0\n"], r"cell 1 failed at line 6: 1 / 0"),
        ([notes(1).replace("text: str", "text: int")], r"notes\.Note\.text has another type"),
        ([notes(1), "raise SystemExit(3)"], r"cell 2 failed"),
        ([notes(1), notes(1, TODOS).replace('"todos"', '"notes"')], r"endpoint 'notes'"),
    ],
    ids=["a failing cell", "a long cell", "a component", "records", "an exit", "an endpoint"],
)  # fmt: skip
def test_a_broken_notebook_leaves_all_as_it_was_and_says_where(watch, bad, said):
    watched = watch(notes(0), words=("--ephemeral", "--timeout", "2"))
    watched.new()
    watched.save(*bad)
    watched.serving.expect(said)
    assert watched.new() == "0"
    assert "shop.ipynb: " in watched.problems
    assert "what served before serves on" in watched.problems
    watched.save(notes(2))
    watched.until_new("2")
    until(lambda: watched.problems == "[]")
    assert watched.serving.end() == 0


def test_what_is_half_written_is_waited_for_and_what_stays_so_is_told(watch):
    watched = watch(notes(0))
    whole = write(watched.path.with_suffix(".tmp"), notes(1)).read_bytes()
    watched.path.write_bytes(whole[:200])
    time.sleep(0.3)
    watched.path.write_bytes(whole)
    watched.until_new("1")
    assert "not JSON" not in watched.serving.said
    watched.path.write_bytes(whole[:200])
    watched.serving.expect("it is not JSON")
    watched.path.unlink()
    watched.serving.expect("does not exist")
    assert watched.new() == "1"
    watched.save(notes(2))
    watched.until_new("2")
    until(lambda: watched.problems == "[]")
    # As it was before it broke: nothing to do, and nothing wrong any more.
    watched.path.write_bytes(b"{")
    watched.serving.expect("Expecting property name")
    watched.save(notes(2))
    until(lambda: watched.problems == "[]")
    assert watched.serving.end() == 0


def test_components_that_left_the_notebook_are_gone_and_new_ones_come(watch):
    watched = watch(notes(0), notes(0, TODOS))
    assert watched.new("todos") == "0"
    watched.save(notes(1), notes(1, TODOS).replace("todos", "tasks"))
    watched.until_new("1", "tasks")
    assert watched.client.get("/aegis/api/models/todos").status_code == 404
    assert watched.new() == "1"
    assert watched.serving.end() == 0


def test_the_files_that_the_notebook_uses_are_followed(watch, tmp_path):
    def file(number):
        return (
            f"__version__ = '1.0.{number}'\nfrom aegis import Model\nimport pricing\n"
            f"class Order(Model, endpoint='orders'):\n    text: str = f'{{pricing.PRICE}}'\n"
        )

    (tmp_path / "orders.py").write_text(file(0))
    (tmp_path / "pricing.py").write_text("PRICE = 1\n")
    (tmp_path / "beside.py").write_text("VALUE = 1\n")
    watched = watch(
        "%aegis watch orders.py",
        "import beside",
        "%%component notes 1.0.0\nimport pricing\nfrom aegis import Model\n"
        "class Note(Model, endpoint='notes'):\n    text: str = f'{pricing.PRICE}'\n",
        "print('beside', beside.VALUE)",
    )
    assert (watched.new("orders"), watched.new()) == ("1", "1")
    (tmp_path / "pricing.py").write_text("PRICE = 2\n")
    watched.until_new("2", "orders")
    watched.until_new("2")
    (tmp_path / "orders.py").write_text(file(1).replace("{pricing.PRICE}", "three"))
    watched.until_new("three", "orders")
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    until(lambda: "beside 7" in watched.serving.printed)
    (tmp_path / "pricing.py").write_text("PRICE = (\n")
    watched.serving.expect(r"pricing\.py, line 1: '\(' was never closed")
    assert watched.new("orders") == "three"
    assert watched.serving.end() == 0


def test_a_component_file_that_comes_into_a_followed_folder_is_served(watch, tmp_path):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    file = "__version__ = '1.0.0'\nfrom aegis import Model\n"
    file += "class {}(Model, endpoint={!r}):\n    x: int = 0\n"
    (shelf / "boxes.py").write_text(file.format("Box", "boxes"))
    watched = watch("%aegis watch shelf")
    (shelf / "tins.py").write_text(file.format("Tin", "tins"))
    until(lambda: watched.client.get("/aegis/api/models/tins").status_code == 200)
    (shelf / "boxes.py").unlink()
    until(lambda: watched.client.get("/aegis/api/models/boxes").status_code == 404)
    assert watched.serving.end() == 0


def test_settings_bindings_and_parameters_go_along(watch):
    pens = (
        "%%component notes 1.0.0\nfrom typing import Protocol\n"
        "from aegis import Model, adapter, config, port\n"
        "class Pen(Protocol):\n    async def ink(self) -> str: ...\n"
        "class Quill(Pen):\n    def __init__(self, colour: str = config('ink.colour')) -> None:\n"
        "        self.colour = colour\n    async def ink(self) -> str:\n        return self.colour\n"
        "class Pencil(Pen):\n    async def ink(self) -> str:\n        return 'grey'\n"
        "class Note(Model, endpoint='notes'):\n    text: str = ''\n"
        "    @port(consumes='note.created', produces='note.written')\n"
        "    async def write(self, pen: Pen = adapter()) -> 'Note':\n"
        "        return self.update(text=await pen.ink())\n"
    )

    def cells(colour, pen):
        return [
            cell("colour = 'none'", "parameters"),
            f"host.configure({{'ink.colour': colour + '{colour}'}})",
            f"host.bind('notes.Pen', '{pen}')",
            pens,
        ]

    watched = watch(*cells("red", "Quill"), words=("--ephemeral", "-p", "colour", "dark "))

    def written():
        made = watched.client.post("/aegis/api/models/notes", json={}).json()
        url = f"/aegis/api/models/notes/{made['id']}"
        until(lambda: watched.client.get(url).json()["text"])
        return watched.client.get(url).json()["text"]

    assert written() == "dark red"
    watched.save(*cells("blue", "Quill"))
    until(lambda: written() == "dark blue")
    watched.save(*cells("blue", "Pencil"))
    until(lambda: written() == "grey")
    watched.save(cell("color = 1", "parameters"), *cells("red", "Quill")[1:])
    watched.serving.expect("has no parameter 'colour'; it has color")
    assert written() == "grey"
    assert watched.serving.end() == 0


def test_no_call_fails_while_saves_come_and_the_last_one_wins(watch):
    watched = watch(notes(0))
    failed, done = [], threading.Event()

    def call():
        with watched.client.__class__(
            base_url=watched.client.base_url, headers=watched.client.headers
        ) as client:
            while not done.is_set():
                answer = client.post("/aegis/api/models/notes", json={})
                if answer.status_code != 201:
                    failed.append(answer.text)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for number in range(1, 31):
        watched.save(notes(number), *(["1 / 0"] if number % 10 == 0 else []))
        time.sleep(0.03)
    watched.save(notes(31))
    watched.until_new("31")
    done.set()
    for caller in callers:
        caller.join()
    assert failed == []
    assert watched.serving.end() == 0


def test_it_ends_at_a_signal_while_it_rehearses(watch):
    watched = watch(notes(0))
    watched.save(notes(1), "print('rehearsing', flush=True)\nimport time\ntime.sleep(60)")
    until(lambda: "rehearsing" in watched.serving.printed)
    assert watched.serving.end(signal.SIGINT) == 0
    assert "draining" in watched.serving.said


def test_a_cell_that_cannot_be_interrupted_is_told_and_keeps_nothing_from_serving(watch):
    watched = watch(notes(0), words=("--ephemeral", "--timeout", "1"))
    swallow = "import time\nend = time.time() + 7\nwhile time.time() < end:\n    try:\n        time.sleep(9)\n    except BaseException:\n        pass"  # fmt: skip
    watched.save(notes(1), swallow)
    watched.serving.expect("did not end within 1 s and cannot be interrupted")
    assert watched.new() == "0"
    assert "cannot be interrupted" in watched.problems
    watched.save(notes(2))
    watched.until_new("2")
    assert watched.serving.end() == 0
