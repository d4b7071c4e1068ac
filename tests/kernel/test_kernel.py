"""The kernel: a cell becomes a live component, IPython stays itself, and nothing is left behind."""

import json
import queue
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.kernel.process import ORDERS


def get(address: str, path: str, token: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(address + path)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def listens(address: str) -> bool:
    name, port = address.removeprefix("http://").split(":")
    with socket.socket() as client:
        return client.connect_ex((name, int(port))) == 0


@pytest.fixture(scope="module")
def orders(kernel):
    """The shared kernel with the component `orders` deployed."""
    reply = kernel.run(ORDERS)
    assert reply.status == "ok", reply.traceback
    return kernel


def test_the_kernel_says_what_it_is_and_where_the_api_answers(kernel):
    info = kernel.client.kernel_info(reply=True, timeout=30)["content"]
    assert info["implementation"] == "aegis"
    assert info["language_info"]["name"] == "python"
    assert kernel.value("host.address") in info["banner"]


def test_a_cell_becomes_an_api_with_a_token(orders):
    address, token = orders.value("host.address"), orders.value("host.token")
    assert address.startswith("http://127.0.0.1:")
    assert get(address, "/readyz")[0] == 200
    assert get(address, "/aegis/api/models/orders")[0] == 401
    orders.run("order = host.create(Order, total='9.50')\nhost.wait(order, 20)")
    status, body = get(address, "/aegis/api/models/orders", token)
    assert status == 200
    assert json.loads(body)["items"][0]["authorization"] == "ok 9.50"
    assert token not in orders.run(ORDERS).html


def test_what_a_deploy_shows_names_component_digest_and_address(orders):
    reply = orders.run(ORDERS)
    assert "orders 1.0.0" in reply.result
    assert f"{orders.value('host.address')}/aegis/api/models/orders" in reply.html
    assert "nothing changed" in reply.result


def test_records_and_the_host_show_themselves_as_html(orders):
    orders.run("order = host.create(Order, total='1.25')")
    for expression, expected in (
        ("order", "1.25"),
        ("host.list(Order)", "1.25"),
        ("host.graph()", "<svg"),
        ("host", "orders"),
        ("Order", "authorize"),
        ("host.flows(order)", "orders.Order"),
    ):
        reply = orders.run(expression)
        assert expected in reply.html, expression
        assert reply.result, expression


def test_verbs_can_be_awaited(orders):
    reply = orders.run("made = await host.aio.create(Order, total='3.00')\nmade.total")
    assert reply.result == "Decimal('3.00')"


@pytest.mark.parametrize("call", ["host.get", "await host.aio.get"])
def test_a_mistake_shows_the_cell_and_no_line_of_ours(orders, call):
    reply = orders.run(f"{call}(Order, 'none')")
    assert f"1 {call}(Order, 'none')" in reply.traceback
    assert "there is no Order 'none'" in reply.traceback
    assert "aegis_kernel" not in reply.traceback
    assert "runtime" not in reply.traceback


def test_a_port_that_fails_shows_the_line_of_the_component(kernel):
    broken = ORDERS.replace('return f"ok {amount}"', 'raise ValueError("no line")')
    assert kernel.run(broken.replace("orders", "broken")).status == "ok"
    reply = kernel.run("host.run(host.create('broken.Order', total='1.00'), 'authorize')")
    assert 'raise ValueError("no line")' in reply.traceback
    assert "aegis_kernel" not in reply.traceback
    assert "runtime" not in reply.traceback


def test_the_api_answers_while_a_cell_blocks(orders, tmp_path):
    address, gate = orders.value("host.address"), tmp_path / "gate"
    blocked = orders.client.execute(
        f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)"
    )
    assert get(address, "/healthz")[0] == 200
    with pytest.raises(queue.Empty):  # the cell still blocks: its reply has not come
        orders.client.get_shell_msg(timeout=0.1)
    gate.touch()
    while orders.client.get_shell_msg(timeout=30)["parent_header"].get("msg_id") != blocked:
        pass


@pytest.mark.parametrize(
    "cell",
    [
        "host._thread.call(__import__('asyncio').sleep, 600)",
        "import asyncio\nawait asyncio.sleep(600)",
        "import asyncio\nawait host._thread.aio(asyncio.sleep, 600)",
        "import asyncio\nawait asyncio.sleep(0)\nwhile True: pass",
        "import asyncio\nawait asyncio.sleep(0)\nhost._thread.call(asyncio.sleep, 600)",
        "while True: pass",
    ],
    ids=[
        "a blocking verb",
        "await",
        "an awaited verb",
        "busy after await",
        "verb after await",
        "busy",
    ],
)
def test_an_interrupt_ends(kernel, cell):
    reply = kernel.interrupted(cell)
    assert reply.status == "error"
    assert kernel.value("6 * 7") == "42"


def test_an_interrupt_of_an_awaited_verb_of_the_host_leaves_the_flow_alone(kernel):
    cell = ORDERS.replace("orders", "patient").replace(
        'return f"ok {amount}"', "await __import__('asyncio').sleep(3600)"
    )
    assert kernel.run(cell.replace("timeout=5", "timeout=5000")).status == "ok"
    kernel.run("order = host.create('patient.Order', total='1.00')")
    for call in (
        "await host.aio.wait(order)",
        "host.wait(order)",
        "await host.aio.wait(order, 600)",
    ):
        assert kernel.interrupted(call).status == "error"
    assert kernel.value("host.flows(order)[-1].flow.state") == "running"


def test_an_interrupt_while_an_adapter_opens_deploys_nothing(kernel):
    hanging = ORDERS.replace("orders", "hanging").replace(
        "class CardPayments(Payments):",
        "class CardPayments(Payments):\n"
        "    async def open(self) -> None:\n"
        "        print('opening', flush=True)\n"
        "        await __import__('asyncio').sleep(3600)\n",
    )
    reply = kernel.interrupted(hanging, after=1.5)
    assert reply.status == "error"
    assert "opening" in reply.stdout
    assert "hanging" not in kernel.value("[part.name for part in host.status().components]")
    assert kernel.value("[m for m in __import__('sys').modules if 'hanging' in m]") == "[]"
    assert kernel.run(ORDERS.replace("orders", "hanging")).status == "ok"


def test_what_a_component_prints_while_it_loads_shows_in_its_cell(kernel):
    reply = kernel.run(
        "%%component talkative 1.0.0\nfrom aegis import Model\nprint('loading')\nclass Word(Model): ..."
    )
    assert "loading" in reply.stdout


def test_a_restart_keeps_the_records_and_leaves_no_port(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path)
    assert kernel.run(ORDERS).status == "ok"
    kernel.run("host.wait(host.create(Order, total='7.00'), 20)")
    before = kernel.value("host.address")
    assert (tmp_path / ".aegis" / "shop" / "lab").is_dir()
    kernel.restart()
    assert not listens(before)
    assert kernel.run(ORDERS).status == "ok"
    assert kernel.value("[str(order.total) for order in host.list(Order)]") == "['7.00']"


def test_two_kernels_on_one_notebook_do_not_fight(start_kernel, tmp_path):
    first = start_kernel(tmp_path)
    second = start_kernel(tmp_path)
    pid, address = first.value("__import__('os').getpid()"), first.value("host.address")
    told = second.run("1 + 1")
    assert told.result == "2"
    assert pid in told.stderr
    assert address in told.stderr
    assert "%aegis data" in told.stderr
    assert second.run("1 + 1").stderr == ""
    refused = second.run("host.status()")
    assert refused.status == "error"
    assert pid in refused.traceback
    assert address in refused.traceback
    assert second.run("host").status == "ok"
    moved = second.run("%aegis data elsewhere")
    assert moved.status == "ok", moved.traceback
    assert second.run(ORDERS).status == "ok"
    assert second.value("host.address") != address
    assert (tmp_path / "elsewhere").is_dir()


def test_a_directory_that_cannot_be_taken_leaves_the_host_where_it_was(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path)
    assert kernel.run(ORDERS).status == "ok"
    kernel.run("host.create(Order, total='2.00')")
    (tmp_path / "file").write_text("no directory")
    refused = kernel.run("%aegis data file")
    assert refused.status == "error"
    assert "The host stays where it was" in refused.traceback
    assert kernel.run(ORDERS).status == "ok"
    assert kernel.value("len(host.list(Order))") == "1"


def test_a_kernel_takes_what_the_environment_says(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path, AEGIS_EPHEMERAL="1", AEGIS_TOKEN="sesame")
    assert kernel.value("host.token") == "sesame"
    assert not (tmp_path / ".aegis").exists()


def test_a_bad_setting_does_not_keep_cells_from_running(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path, AEGIS_PORT="eighty", AEGIS_EPHEMERAL="1")
    reply = kernel.run("1 + 1")
    assert reply.result == "2"
    assert "AEGIS_PORT is 'eighty'" in reply.stderr


def test_the_extension_gives_a_stock_kernel_the_same(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path, name="python3", AEGIS_EPHEMERAL="1")
    told = kernel.run("%load_ext aegis_kernel").stdout
    assert "the API is at http://127.0.0.1:" in told
    assert "In this kernel an `await` cannot be interrupted" in told
    assert kernel.run(ORDERS).status == "ok"
    address = kernel.value("host.address")
    assert kernel.value("host.create(Order, total='2.00').total") == "2.00"
    assert kernel.run("%unload_ext aegis_kernel").status == "ok", "unloads"
    assert not listens(address)
    assert kernel.value("'host' in globals()") == "False"


def test_a_session_with_the_extension_drains_its_host_as_it_ends(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path, name="python3")
    assert kernel.run("%load_ext aegis_kernel").status == "ok"
    assert kernel.run(ORDERS).status == "ok"
    lock = tmp_path / ".aegis" / "shop" / "lab" / "owner.lock"
    assert lock.stat().st_size > 0
    kernel.close()
    assert lock.stat().st_size == 0  # as an owner leaves it that got as far as closing


def test_every_setting_is_in_the_help_of_the_kernel():
    shown = subprocess.run(
        [sys.executable, "-m", "aegis_kernel", "--help-all"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    for name in ("port", "data_dir", "ephemeral", "token", "switch_interval", "debug_host"):
        assert f"--AegisKernel.{name}=" in shown, name


SETTINGS = (
    "(__import__('sys').getswitchinterval(), host._thread.debug, host.token,"
    " host._thread.config.data is None, host.address.rsplit(':')[-1])"
)


def test_settings_come_from_the_environment(start_kernel, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kernel = start_kernel(
        tmp_path,
        AEGIS_SWITCH_INTERVAL="0.002",
        AEGIS_DEBUG="true",
        AEGIS_TOKEN="sesame",
        AEGIS_EPHEMERAL="yes",
        AEGIS_PORT=str(port),
    )
    assert kernel.value(SETTINGS) == f"(0.002, True, 'sesame', True, '{port}')"


def test_a_config_file_goes_before_the_environment(start_kernel, tmp_path):
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text(
        "c.AegisKernel.switch_interval = 0.004\n"
        "c.AegisKernel.token = 'from the file'\n"
        "c.AegisKernel.debug_host = False\n"
        f"c.AegisKernel.data_dir = {str(tmp_path / 'kept')!r}\n"
    )
    kernel = start_kernel(
        tmp_path,
        IPYTHONDIR=str(tmp_path / "ipython"),
        AEGIS_SWITCH_INTERVAL="0.002",
        AEGIS_DEBUG="1",
        AEGIS_TOKEN="from outside",
        AEGIS_DATA=str(tmp_path / "elsewhere"),
    )
    found = kernel.value(SETTINGS)
    assert found.startswith("(0.004, False, 'from the file', False, ")
    assert (tmp_path / "kept").is_dir()
    assert not (tmp_path / "elsewhere").exists()


def test_a_bad_switch_interval_is_told_and_the_default_taken(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path, AEGIS_SWITCH_INTERVAL="soon", AEGIS_EPHEMERAL="1")
    reply = kernel.run("1 + 1")
    assert "AEGIS_SWITCH_INTERVAL is 'soon'" in reply.stderr
    assert kernel.value("__import__('sys').getswitchinterval()") == "0.0005"


def test_a_kernel_starts_without_what_only_some_notebooks_need(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path, AEGIS_EPHEMERAL="1")
    heavy = ("anywidget", "duckdb", "ipywidgets", "jupytext", "papermill", "watchfiles", "yaml")
    assert kernel.value(f"[m for m in {heavy} if m in __import__('sys').modules]") == "[]"
