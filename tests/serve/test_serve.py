"""`aegis-serve`: the notebook headless, every way it can fail to start, and how it ends."""

import signal
import socket
import time

import httpx
import pytest

from tests.serve.process import NOTES, cell

# --- serving ------------------------------------------------------------------------------------


def test_a_notebook_serves_drains_and_keeps_its_records(serve, tmp_path):
    serving = serve([NOTES, "note = host.create(Note, text='from a cell')\nprint(note.text)"])
    with serving.ready() as client:
        listed = client.get("/aegis/api/models/notes").json()["items"]
        assert [note["text"] for note in listed] == ["from a cell"]
        assert (
            client.get("/aegis/api/models/notes", headers={"Authorization": ""}).status_code == 401
        )
        address = client.base_url
    assert serving.printed.count("from a cell") == 1
    assert "Out[" not in serving.printed
    assert serving.end() == 0
    assert (tmp_path / ".aegis" / "shop" / "serve").is_dir()
    with socket.socket() as probe:
        assert probe.connect_ex((address.host, address.port)) != 0
    again = serve(None)
    with again.ready() as client:
        assert len(client.get("/aegis/api/models/notes").json()["items"]) == 2
    assert again.end(signal.SIGINT) == 0


def test_it_is_alive_at_once_and_ready_after_the_last_cell(serve, tmp_path):
    gate = tmp_path / "gate"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)"
    serving = serve([NOTES, wait], "--ephemeral", "--no-token")
    with httpx.Client(base_url=serving.address()) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.get("/readyz").json()["missing"] == ["cells"]
        gate.touch()
        serving.expect("serving notes 1.0.0")
        assert client.get("/readyz").status_code == 200
    assert serving.end() == 0


def test_cells_are_ipython_cells(serve):
    cells = [
        "import asyncio\nawait asyncio.sleep(0)\n6 * 7",
        "%%capture said\nprint('caught')",
        "!echo from a shell",
        "%matplotlib inline",
        "%%html\n<b>x</b>",
        "%%javascript\nalert(1)",
        "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))",
        "get_ipython().user_ns['said'].stdout",
        NOTES,
        "await host.aio.create(Note, text='awaited')",
        "%aegis status",
    ]
    serving = serve(cells, "--ephemeral")
    with serving.ready() as client:
        assert len(client.get("/aegis/api/models/notes").json()["items"]) == 1
    assert "42" in serving.printed
    assert "from a shell" in serving.printed
    assert "'caught\\n'" in serving.printed
    assert serving.end() == 0


def test_what_the_host_and_its_libraries_complain_of_goes_to_standard_error(serve):
    noisy = """\
%%component noisy 1.0.0
import asyncio, logging
from aegis import Model, port

async def fail():
    raise ValueError("nobody fetches this")

class Noise(Model, endpoint="noises"):
    @port(consumes="noise.created", timeout=5, retries=1, backoff=0.1)
    async def make(self) -> None:
        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        del task
        logging.getLogger("tornado.general").warning("tornado warns")
        raise ValueError("once more")
"""
    serving = serve([noisy, "flow = host.wait(host.create(Noise), 20)"], "--ephemeral")
    serving.ready().close()
    assert serving.end() == 0
    for said in ("attempt 1: ValueError: once more", "nobody fetches this", "tornado warns"):
        assert said in serving.said, said


def test_plots_need_no_display(serve):
    # As matplotlib asks: the backend that is named in the environment.
    serving = serve([NOTES, "import os\nassert os.environ['MPLBACKEND'] == 'Agg'"], "--ephemeral")
    serving.ready().close()
    assert serving.end() == 0


def test_tagged_cells_are_left_out_and_the_others_keep_their_numbers(serve):
    cells = [
        cell("raise SystemError", "aegis-skip"),
        cell("raise SystemError", "skip-execution"),
        cell("raise SystemError", kind="markdown"),
        cell("1 / 0", "raises-exception"),
        NOTES,
        "print(In[4][:20], len(In))",
    ]
    serving = serve(cells, "--ephemeral")
    serving.ready().close()
    assert "ZeroDivisionError" in serving.said
    assert "6" in serving.printed.splitlines()[-1]
    assert serving.end() == 0


def test_relative_paths_mean_the_notebooks_folder(serve, tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 'beside'\n")
    (tmp_path / "elsewhere").mkdir()
    serving = serve(
        [NOTES, "import beside\nprint(beside.VALUE, open('beside.py').read())"],
        *("--data", "records"),
        cwd=tmp_path / "elsewhere",
    )
    serving.ready().close()
    assert "beside" in serving.printed
    assert (tmp_path / "elsewhere" / "records").is_dir()
    assert serving.end() == 0


def test_settings_reach_components(serve):
    source = (
        "%%component notes 1.0.0\nfrom typing import Protocol\n"
        "from aegis import Model, adapter, config, port\n"
        "class Ink(Protocol):\n    async def colour(self) -> str: ...\n"
        "class Pen(Ink):\n"
        "    def __init__(self, colour: str = config('ink.colour')) -> None:\n"
        "        self.named = colour\n"
        "    async def colour(self) -> str:\n        return self.named\n"
        "class Note(Model, endpoint='notes'):\n    text: str = ''\n"
        "    @port()\n    async def write(self, ink: Ink = adapter()) -> 'Note':\n"
        "        return self.update(text=await ink.colour())\n"
    )
    run = "print(host.run(host.create(Note), 'write').text)"
    serving = serve([source, run], "--ephemeral", "--set", "ink.colour=green")
    serving.ready().close()
    assert "green" in serving.printed
    assert serving.end() == 0


def test_the_command_line_says_where_the_data_is_whatever_a_cell_says(serve, tmp_path):
    serving = serve(["%aegis data elsewhere", NOTES], "--data", str(tmp_path / "records"))
    serving.ready().close()
    assert "where --data says" in serving.printed
    assert not (tmp_path / "elsewhere").exists()
    assert serving.end() == 0


# --- parameters ---------------------------------------------------------------------------------

PARAMETERS = cell("rows = 1\nname: str = 'x'\n", "parameters")


def test_parameters_come_after_their_cell_typed_as_literals(serve, tmp_path):
    (tmp_path / "given.yaml").write_text("rows: 2\nname: from the file\n")
    serving = serve(
        [PARAMETERS, "print(repr(rows), repr(name))", NOTES],
        *("--ephemeral", "-f", str(tmp_path / "given.yaml"), "-p", "rows", "7"),
    )
    serving.ready().close()
    assert "7 'from the file'" in serving.printed
    assert serving.end() == 0


@pytest.mark.parametrize(
    ("cells", "words", "said"),
    [
        (
            [PARAMETERS, NOTES],
            ["-p", "row", "7"],
            "no parameter 'row'; it has rows, name (did you mean 'rows'?)",
        ),
        ([NOTES], ["-p", "rows", "7"], "no cell takes parameters"),
        ([PARAMETERS, NOTES], ["-f", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_a_parameter_that_is_not_there_is_an_error(serve, cells, words, said):
    serving = serve(cells, "--ephemeral", *words)
    assert serving.exit_code() == 2
    assert said in serving.said


# --- what cannot be served ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        ("print(1)", "is not JSON"),
        ("[1, 2]", "no notebook of format 4"),
        ('{"nbformat": 3, "worksheets": []}', "of 3"),
        ('{"nbformat": 4}', "damaged"),
        ('{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "damaged"),
        ('{"nbformat": 4, "cells": []}', "has no component"),
    ],
)
def test_what_is_no_notebook_is_told_in_one_line(serve, tmp_path, content, said):
    if content is not None:
        (tmp_path / "shop.ipynb").write_text(content)
    serving = serve(None, "--ephemeral")
    assert serving.exit_code() == 2
    assert said in serving.said
    assert len(serving.said.splitlines()) == 1


def test_a_notebook_whose_cells_deploy_nothing_is_told(serve):
    serving = serve(["# %%component is only spoken of here"], "--ephemeral")
    assert serving.exit_code() == 2
    assert "no cell deployed one" in serving.said


@pytest.mark.parametrize(
    ("source", "line", "kind"),
    [
        ("x = 1\ny = x / 0", "at line 2: y = x / 0", "ZeroDivisionError"),
        ("x = 1\ndef f(:\n    pass", "at line 2: def f(:", "SyntaxError"),
        ("x = 1\nimport asyncio\nawait nothing()", "at line 3: await nothing()", "NameError"),
        (
            "%%component other 1.0.0\nimport re\nx = 1 / 0",
            "at line 3: x = 1 / 0",
            "ZeroDivisionError",
        ),
        ("%%component other", "", "UsageError"),
        ("%nonsense", "", "nonsense"),
        ("host.get(Note, 'nowhere')", "at line 1: host.get(Note, 'nowhere')", "NotFoundError"),
        ("import sys\nsys.exit(3)", "at line 2: sys.exit(3)", ""),
    ],
)
def test_a_failing_cell_stops_the_start_with_its_number_line_and_traceback(
    serve, source, line, kind
):
    serving = serve([NOTES, cell(source, id="the-bad-one"), "print('never')"], "--ephemeral")
    assert serving.exit_code() == 1
    assert "cell 2 (id the-bad-one) failed" in serving.said
    assert line in serving.said
    assert kind in serving.said
    assert "never" not in serving.printed


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.sleep(600)",
        "while True:\n    pass",
        "while True:\n    try:\n        import time; time.sleep(600)\n    except Exception:\n        pass",
        "import asyncio\nawait asyncio.sleep(600)",
        "host._thread.call(__import__('asyncio').sleep, 600)",
        "while True:\n    try:\n        import time; time.sleep(600)\n    except BaseException:\n        pass",
    ],
    ids=["sleeps", "computes", "swallows errors", "awaits", "waits for the host", "swallows all"],
)
def test_a_cell_that_never_ends_stops_the_start(serve, source):
    serving = serve([NOTES, source], "--ephemeral", "--timeout", "1.5")
    assert serving.exit_code() == 1
    assert "cell 2" in serving.said
    assert "did not end within 1.5 s" in serving.said
    assert "aegis_kernel" not in serving.said


def test_a_long_start_says_what_it_does(serve):
    serving = serve([NOTES, cell("import time\ntime.sleep(2.5)", id="slow")], "--ephemeral")
    serving.expect(r"\[2/2\] slow \.\.\.")
    serving.expect(r"\[2/2\] slow 25\d\d ms|\[2/2\] slow [3-9]\d\d\d ms")
    assert serving.end() == 0


def test_what_asks_a_question_gets_no_answer_instead_of_waiting(serve):
    serving = serve([NOTES, "input('who? ')"], "--ephemeral")
    assert serving.exit_code() == 1
    assert "EOFError" in serving.said


def test_a_port_in_use_is_told(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        serving = serve([NOTES], "--ephemeral", "--port", port)
        assert serving.exit_code() == 2
    assert f"port {port} of 127.0.0.1 is in use" in serving.said


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_number_that_is_no_port_is_told(serve, port):
    serving = serve([NOTES], "--ephemeral", "--port", port)
    assert serving.exit_code() == 2
    assert f"{port} is no port" in serving.said
    assert "Traceback" not in serving.said


def test_a_directory_of_a_running_server_is_told_with_its_address(serve):
    first = serve([NOTES])
    with first.ready() as client:
        second = serve(None)
        assert second.exit_code() == 2
        assert f"process {first.process.pid}" in second.said
        assert str(client.base_url) in second.said
    assert first.end() == 0


def test_a_setting_without_a_value_is_told(serve):
    serving = serve([NOTES], "--ephemeral", "--set", "ink.colour")
    assert serving.exit_code() == 2
    assert "it has no value" in serving.said


def test_an_empty_token_is_refused_and_none_is_said_aloud(serve):
    refused = serve([NOTES], "--ephemeral", "--token", "")
    assert refused.exit_code() == 2
    assert "--no-token" in refused.said
    warned = serve([NOTES], "--ephemeral", "--no-token")
    with warned.ready() as client:
        assert client.get("/aegis/api/models/notes").status_code == 200
    assert "WARNING" in warned.said
    assert warned.end() == 0


# --- ending -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_cells_run_ends_it_cleanly(serve, number):
    serving = serve(
        [NOTES, "import time\nprint('begun', flush=True)\ntime.sleep(600)"], "--ephemeral"
    )
    serving.address()
    while "begun" not in serving.printed:
        time.sleep(0.02)
    assert serving.end(number) == 0
    assert "Traceback" not in serving.said
