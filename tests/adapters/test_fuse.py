"""An import that does not end is refused by name, where it was then; nothing else waits for it."""

import contextvars
import sys
import threading
import time

import pytest

from aegis.adapters.components.fuse import Endless, bounded
from aegis.adapters.components.polyglot import PolyglotLoader
from aegis.adapters.components.python import PythonLoader
from aegis.core.component import Source
from aegis.core.errors import ComponentError
from aegis.testing import memory_host

MODEL = "from aegis import Model\nclass Note(Model, endpoint='notes'): ...\n"
ENDLESS = {
    "a loop": ("while True:\n    pass\n", "line 3: its import", None),
    "a loop that sleeps": ("import time\nwhile True:\n    time.sleep(0.01)\n", "line 5: ", None),
    "a loop that catches": (
        "while True:\n    try:\n        1 / 0\n    except Exception:\n        pass\n",
        "its import did not end within",
        None,
    ),
    "a file beside it": ("import slow\n", "slow.py, line 2: ", "slow.py"),
    "a loop that catches all": (
        "import stop\nwhile not stop.it:\n    try:\n        stop.wait()\n    except BaseException:\n        pass\n",
        "cannot be interrupted: it goes on until the host ends",
        None,
    ),
}


@pytest.fixture
def stop(monkeypatch):
    """A module that ends what cannot be interrupted."""
    monkeypatch.setattr("aegis.adapters.components.fuse.GRACE", 0.2)
    module = type(sys)("stop")
    module.it = False
    module.wait = lambda: time.sleep(0.01)
    monkeypatch.setitem(sys.modules, "stop", module)
    yield
    module.it = True
    for thread in threading.enumerate():
        if thread.name == "aegis-import":
            thread.join()


@pytest.mark.parametrize("fault", ENDLESS)
def test_it_is_told_with_the_line_it_was_at(fault, stop):
    text, said, file = ENDLESS[fault]
    loader, before = PythonLoader(patience=0.1), set(sys.modules)
    source = Source.of("notes", "1.0.0", MODEL + text, imports={"slow.py": "\nwhile True: pass\n"})
    with pytest.raises(ComponentError) as refused:
        loader.load(source)
    assert said in str(refused.value)
    assert "within 0.1 s" in str(refused.value)
    assert "begin what goes on in an adapter's open()" in str(refused.value)
    assert refused.value.fields.get("file") == file
    assert not {name for name in set(sys.modules) - before if "notes" in name}


async def test_what_served_goes_on_and_the_next_deploy_is_not_held_up():
    async with memory_host(loader=PolyglotLoader(PythonLoader(patience=0.5))) as host:
        await host.deploy("notes", "1.0.0", MODEL)
        with pytest.raises(ComponentError, match="did not end"):
            await host.deploy("notes", "1.0.0", MODEL + "while True: pass\n")
        assert (await host.create("Note")).id
        await host.deploy("notes", "1.0.1", MODEL + "# mended\n")
    assert [one.name for one in threading.enumerate() if one.name == "aegis-import"] == []


def test_what_ends_in_time_gives_its_result_or_its_error_and_sees_its_context():
    shown = contextvars.ContextVar("shown", default="nothing")
    shown.set("what is set here")
    assert bounded(shown.get, 5) == "what is set here"
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 / 0, 5)
    with pytest.raises(Endless) as endless:
        bounded(lambda: [None for _ in iter(int, 1)], 0.05)
    assert not endless.value.goes_on
    assert endless.value.stack[-1][0] == __file__


# --- what else an import can fail of ------------------------------------------------------------


def refused(text, **imports):
    files = {f"{name}.py": content for name, content in imports.items()}
    with pytest.raises(ComponentError) as error:
        PythonLoader().load(Source.of("notes", "1.0.0", MODEL + text, imports=files))
    return str(error.value)


def test_a_missing_module_is_told_with_the_likely_fix():
    said = refused("import nowhere.at_all\n")
    assert "line 3: ModuleNotFoundError: No module named 'nowhere'" in said
    assert "name it in [component.dependencies], or install 'nowhere' for the host" in said
    assert "did you mean 'pricing'?" in refused("import pricng\n", pricing="")
    assert "did you mean" not in refused("import json.decodr\n", pricing="")
    said = refused("import pricing\n", pricing="x = 1\nimport nowhere\n")
    assert "pricing.py, line 2: ModuleNotFoundError: No module named 'nowhere'" in said


def test_files_that_need_each_other_are_told_both():
    said = refused(
        "import one\n", one="from two import B\nA = 1\n", two="from one import A\nB = 2\n"
    )
    assert "two.py, line 1: ImportError: cannot import name 'A' from 'one'" in said
    assert "one.py and two.py import each other: import the module and not names of it" in said
    assert "aegis_components" not in said
    said = refused("import one\nPRICE = 1\n", one="from notes import PRICE\n")
    assert "notes and one.py import each other" in said
    said = refused("import one\n", one="from two import B\n", two="A = 1\n")
    assert "one.py, line 1: ImportError: cannot import name 'B' from 'two'" in said
    assert "each other" not in said
    said = refused("import one\n", one="import two\nA = two.B\n", two="import one\nB = one.A\n")
    assert "two.py, line 2: AttributeError" in said
    assert "one.py and two.py import each other" in said


async def test_a_host_without_libraries_refuses_what_has_some():
    from aegis.core.component import Library

    library = Library(name="left", version="1.0", sha256="0" * 64)
    async with memory_host() as host:
        with pytest.raises(ComponentError, match="this host has no libraries, and it wants left"):
            await host.deploy(Source.of("notes", "1.0.0", MODEL, libraries=(library,)))
