"""The private modules of a revision's libraries: seen by it alone, and gone with it."""

import gc
import linecache
import logging
import pickle
import sys
import threading
import traceback
import weakref

import pytest

from aegis.adapters.components.python import PythonLoader
from aegis.adapters.libraries.shelf import Shelf
from aegis.core.component import Source
from aegis.core.errors import ComponentError
from aegis.core.footprint import footprint
from aegis.core.manifest import Dependency, Manifest
from aegis.core.wheel import shared_wheel
from tests.index import installed, wheel

MODEL = "from aegis import Model\nclass Order(Model, endpoint='orders'): ...\n"


@pytest.fixture
def shelf():
    return Shelf(None)


@pytest.fixture
def load(shelf):
    """`load(text, wheels)` loads a component that has these for itself; all go at the end."""
    loader, loaded = PythonLoader(shelf.wheel), []

    def load(text, wheels=(), *, name="orders", imports=None, twice=None):
        libraries = tuple(shelf.put(data, "a wheel").library for data in wheels)
        kept.extend(shelf.find(one.sha256) for one in libraries)
        manifest = Manifest(
            name=name,
            version="1.0.0",
            dependencies={key: Dependency(twice=said) for key, said in (twice or {}).items()},
        )
        source = Source.of(
            name, "1.0.0", MODEL + text, libraries=libraries, imports=imports, manifest=manifest
        )
        loaded.append(loader.load(source))
        return loaded[-1]

    before, kept = set(sys.modules), []
    load.loader, load.loaded = loader, loaded
    yield load
    for revision in loaded:
        loader.unload(revision)
    new = set(sys.modules) - before
    assert [name for name in new if name.startswith("aegis_components.orders")] == []


def value(revision, name="answer"):
    return vars(revision.module)[name]


LEFT = {
    "left/__init__.py": "from . import deep\nfrom left.deep import SIDE\nimport left.deep as d\n",
    "left/deep/__init__.py": "import right\nfrom ..other import ONE\nSIDE = right.SIDE + ONE\n",
    "left/other.py": "ONE = 'one'\n",
    "left/late.py": "WHEN = 'late'\n",
    "left/data/words.txt": "hello",
}
RIGHT = {"right.py": "SIDE = 'right '\n"}


# --- what an import means -----------------------------------------------------------------------


def test_libraries_find_themselves_and_each_other_and_nobody_else_finds_them(load):
    text = "import left.deep\nfrom left import SIDE\nanswer = left.deep.SIDE, SIDE, left.d.SIDE\n"
    revision = load(text, [wheel("left", "1.0", LEFT), wheel("right", "1.0", RIGHT)])
    assert value(revision) == ("right one",) * 3
    assert not {"left", "right"} & sys.modules.keys()
    with pytest.raises(ModuleNotFoundError):
        __import__("left")
    with pytest.raises(
        ComponentError, match=r"line 3: ModuleNotFoundError: No module named 'left'"
    ):
        load("import left\n", name="other")
    with pytest.raises(ComponentError, match=r"No module named 'left\.gone'"):
        load("import left.gone\n", [wheel("left", "1.0", LEFT), wheel("right", "1.0", RIGHT)])


def test_two_versions_live_side_by_side(load):
    one = load("import right\ndef answer(): return right.SIDE\n", [wheel("right", "1", RIGHT)])
    two = load(
        "import right\ndef answer(): return right.SIDE\n",
        [wheel("right", "2", {"right.py": "SIDE = 'two'"})],
        name="other",
    )
    assert (value(one)(), value(two)()) == ("right ", "two")


def test_a_file_beside_the_component_goes_before_a_library(load):
    text = "import right, mine\nanswer = right.SIDE, mine.SIDE\n"
    files = {"right.py": "SIDE = 'beside'\n", "mine.py": "from left import SIDE\n"}
    wheels = [wheel("left", "1.0", LEFT), wheel("right", "1.0", RIGHT)]
    assert value(load(text, wheels, imports=files)) == ("beside", "right one")


def test_no_library_takes_the_place_of_python_or_of_the_host(load):
    files = {"json.py": "1 / 0\n", "aegis/__init__.py": "1 / 0\n", "left.py": "import json\n"}
    revision = load("import json, left, aegis.core\nanswer = json\n", [wheel("left", "1", files)])
    assert value(revision) is sys.modules["json"]


def test_a_component_may_have_the_name_of_its_library(load):
    revision = load(
        "import helped\nanswer = helped.orders.SIDE\n",
        [wheel("orders", "1.0", {"orders.py": "SIDE = 'the library'"})],
        imports={"helped.py": "import orders\n"},
    )
    assert value(revision) == "the library"


def test_what_takes_names_as_text_means_the_same(load):
    text = """
import importlib, pkgutil
import importlib.metadata, importlib.resources, importlib.util
from importlib import import_module, metadata as data, resources
from importlib.metadata import version, PackageNotFoundError
from left import late
def answer():
    assert import_module("left.late") is late is importlib.import_module(".late", "left")
    assert importlib.import_module(name=late.__name__) is late
    assert importlib.import_module("json").dumps(1) == "1"
    assert importlib.util.find_spec("left.other").name.endswith("left.other")
    assert importlib.util.find_spec("nowhere") is None
    assert importlib.util.find_spec("json") is importlib.import_module("json").__spec__
    assert version("left") == data.version("LEFT") == importlib.metadata.version("left") == "1.0"
    assert data.metadata("left")["Name"] == "left" and data.requires("left") == ["right>=1"]
    assert version("pytest")
    try:
        version("nowhere-to-be-found")
    except PackageNotFoundError:
        pass
    words = resources.files("left") / "data" / "words.txt"
    assert words.read_text() == "hello" and words.name == "words.txt" and words.is_file()
    assert importlib.resources.files("left.data").joinpath("words.txt").read_bytes() == b"hello"
    assert {one.name for one in resources.files("left").iterdir()} >= {"data", "deep", "late.py"}
    assert resources.files("left").joinpath("data").is_dir()
    with resources.as_file(words) as path:
        assert path.read_text() == "hello"
    with words.open(encoding="utf-8") as file:
        assert file.read() == "hello"
    assert pkgutil.get_data("left", "data/words.txt") == b"hello"
    import left
    assert pkgutil.get_data(left.__name__, "data/words.txt") == b"hello"
    assert left.__loader__.get_data(left.__file__.replace("__init__.py", "data/words.txt"))
    for gone in (lambda: pkgutil.get_data("left", "gone"), (resources.files("left") / "x").read_text):
        try:
            gone()
        except FileNotFoundError as error:
            assert "left 1.0 has no file" in str(error)
        else:
            raise SystemError
    return "all of it"
"""
    wheels = [wheel("left", "1.0", LEFT, requires=["right>=1"]), wheel("right", "1.0", RIGHT)]
    assert value(load(text, wheels))() == "all of it"


def test_a_package_without_an_init_and_circular_imports_work_as_ever(load):
    files = {
        "space/one.py": "import space.two\nONE = 1\ndef two(): return space.two.TWO\n",
        "space/two.py": "from space import one\nTWO = 2\ndef one_(): return one.ONE\n",
    }
    text = "import space.one, space.two\nanswer = space.one.two(), space.two.one_()\n"
    assert value(load(text, [wheel("space", "1.0", files)])) == (2, 1)


def test_classes_of_libraries_can_be_pickled_and_typed(load):
    text = """
import typing
from kit import Part, Color, Pair
answer = Part(Color.RED, None), Pair(1, "a")
hints = typing.get_type_hints(Part)
"""
    kit = """
from __future__ import annotations
import dataclasses, enum, typing
class Color(enum.Enum):
    RED = 1
class Pair(typing.NamedTuple):
    one: int
    two: "str"
@dataclasses.dataclass(frozen=True)
class Part:
    color: Color
    inner: Part | None
"""
    revision = load(text, [wheel("kit", "1.0", {"kit.py": kit})])
    assert pickle.loads(pickle.dumps(value(revision))) == value(revision)
    assert value(revision, "hints")["color"].__name__ == "Color"


def test_a_module_is_run_once_and_when_it_is_first_imported(load):
    text = "import left\ndef late():\n    import left.late\n    return left.late.WHEN\n"
    revision = load(text, [wheel("left", "1.0", LEFT), wheel("right", "1.0", RIGHT)])
    name = f"{revision.module.__name__}._libraries.left.late"
    assert name not in sys.modules
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(value(revision, "late")())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["late"] * 8
    assert name in sys.modules


def test_a_traceback_shows_the_lines_of_a_library(load):
    files = {"left.py": "def fail():\n    raise ValueError('as told')\n"}
    revision = load("import left\nanswer = left.fail\n", [wheel("left", "1.0", files)])
    with pytest.raises(ValueError, match="as told") as failed:
        value(revision)()
    shown = "".join(traceback.format_exception(failed.value))
    assert 'File "left-1.0.whl/left.py", line 2, in fail' in shown
    assert "raise ValueError('as told')" in shown


def test_a_library_that_breaks_is_told_at_the_line_that_imports_it(load):
    for code, said in (("def f(:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError")):
        with pytest.raises(ComponentError, match=rf"line 3: .*{said}|line 3: invalid syntax") as no:
            load("import left\n", [wheel("left", "1.0", {"left.py": code})])
        assert no.value.fields["line"] == 3


# --- another component's source -----------------------------------------------------------------


def test_a_shared_source_is_a_package_whose_files_know_each_other_by_their_plain_names(load):
    files = {
        "money.py": b"import rates\nfrom rates.eu import VAT\nfrom shared.words import SAY\nimport right\n"
        b"from aegis import Model\nclass Price(Model, endpoint='prices'): ...\n"
        b"def gross(x): return x + VAT\n",
        "rates/__init__.py": b"",
        "rates/eu.py": b"from words import SAY\nVAT = 19\n",
        "words.py": b"SAY = 'so'\n",
    }
    data = shared_wheel("shared", "1.0.0", files, ["money.py"])
    assert data == shared_wheel("shared", "1.0.0", dict(reversed(files.items())), ["money.py"])
    text = "from shared import gross, Price\nimport shared.rates.eu\nanswer = gross(1)\n"
    revision = load(text, [data, wheel("right", "1.0", RIGHT)])
    assert value(revision) == 20
    assert set(revision.by_name) == {"Order", "Price"}  # it took a model in, so it has that


def test_what_comes_of_a_wheel_of_others_is_no_part_of_the_component(load):
    code = "from aegis import Model, on\nclass Hers(Model): ...\n@on('a.b')\ndef heard(): ...\n"
    revision = load("from hers import Hers, heard\n", [wheel("hers", "1.0", {"hers.py": code})])
    assert (set(revision.by_name), revision.listeners) == ({"Order"}, ())


# --- leaving ------------------------------------------------------------------------------------


def test_all_of_it_leaves_memory_with_the_revision(load, shelf):
    code = """
import atexit, logging, collections
class Kept: ...
log = logging.getLogger(__name__)
log.warning
told = collections.deque()
atexit.register(told.append, "gone")
def never(): told.append("never")
atexit.register(never); atexit.unregister(never)
"""
    data = wheel("left", "1.0", {"left/__init__.py": "", "left/deep.py": code})
    revision = load(
        "import left.deep\nimport logging\nlogging.getLogger(__name__ + '.x')\n", [data]
    )
    module = value(revision, "left").deep
    told = module.told
    seen = [weakref.ref(each) for each in (module, module.Kept, revision.module, module.log)]
    root = revision.module.__name__
    load.loader.unload(revision)
    load.loaded.clear()
    assert list(told) == ["gone"]
    del revision, module
    gc.collect()
    assert [ref() for ref in seen] == [None] * 4
    assert [name for name in sys.modules if root in name] == []
    assert [name for name in logging.root.manager.loggerDict if root in name] == []
    assert [name for name in linecache.cache if root in name] == []


# --- once or twice ------------------------------------------------------------------------------


def once(version):
    text = f"import codecs, base\ncodecs.register(lambda name: None)\nVERSION = {version!r}\n"
    return wheel("lone" + str(once.number), version, {f"lone{once.number}.py": text})


once.number = 0


def test_a_library_that_can_be_there_once_is_one_for_all_and_both_names_are_told(load):
    once.number += 1
    name = f"lone{once.number}"
    base = wheel("base", "1.0", {"base.py": ""})
    text = f"import {name}, base\nmodule = {name}\n"
    first = load(text, [base, once("1.0")])
    again = load(text + "#\n", [base, once("1.0")])
    other = load(text, [base, once("1.0")], name="other")
    assert value(first, "module") is value(again, "module") is value(other, "module")
    assert value(first, "base") is not value(again, "base")
    with pytest.raises(ComponentError) as refused:
        load(text, [base, once("2.0")], name="third")
    said = f"third needs {name} 2.0 and orders {name} 1.0, which cannot be there twice"
    assert said in str(refused.value)
    assert f"{name}.py, line 2: codecs.register()" in str(refused.value)
    third = load(text, [base, once("2.0")], name="third", twice={name: True})
    assert value(third, "module").VERSION == "2.0"


def test_a_manifest_may_say_that_a_library_can_be_there_once(load):
    text = "import solo\nmodule = solo\n"
    one, two = (wheel("solo", version, {"solo.py": ""}) for version in ("1.0", "2.0"))
    load(text, [one], twice={"solo": False})
    with pytest.raises(
        ComponentError, match=r"other needs solo 2\.0 and orders solo 1\.0.*manifest"
    ):
        load(text, [two], name="other", twice={"solo": False})
    load(text, [two], name="other")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import codecs\ncodecs.register_error('x', None)", 2),
        ("from copyreg import pickle as p\np(int, str)", 2),
        ("import sys\nsys.modules['left'] = 1", 2),
        ("import sys as s\nif 1:\n    s.meta_path.insert(0, 1)", 3),
        ("import socket\nsocket.socket = None", 2),
        ("import builtins\nsetattr(builtins, 'x', 1)", 2),
        ("import os\nos.environ['A'] = 'b'", 2),
        ("import logging\ndef set():\n    logging.setLoggerClass(None)\nset()", 3),
        ("import xml.etree.ElementTree as E\nE.register_namespace('a', 'b')", 2),
        ("import ssl\nclass A:\n    ssl.x = 1", 3),
        ("import sys\ndel sys.modules['a']", 2),
        ("import sys\nsys.path += ['a']", 2),
        ("import sys\nsys.modules[__name__ + '.moves'] = 1\nsys.modules[__name__].x", None),
        (
            "import signal\ndef main():\n    signal.signal(1, 2)\nif __name__ == '__main__':\n    main()",
            None,
        ),
        ("import left\nleft.x = 1\nx = lambda: left.register()", None),
        ("def f(:", None),
        ("import logging\nlogging.getLogger(__name__).addHandler(logging.NullHandler())", None),
    ],
)
def test_what_reaches_the_whole_process_is_read_from_a_librarys_text(text, line):
    found = footprint({"left/a.py": text.encode(), "left/b.txt": b"import codecs"})
    assert (None if found is None else (found.path, found.line)) == (
        None if line is None else ("left/a.py", line)
    )


# --- real ones ----------------------------------------------------------------------------------


def test_libraries_that_people_use_work_in_private(load):
    names = ("attrs", "certifi", "jinja2", "python-slugify", "packaging")
    wheels = [installed(name, "999.1") for name in names]
    text = """
import attrs, certifi, jinja2, slugify, pickle
from importlib.metadata import version
from packaging.version import Version
@attrs.define
class Point:
    x: int = attrs.field(validator=attrs.validators.instance_of(int))
def answer():
    assert pickle.loads(pickle.dumps(Point(3))) == Point(3)
    assert "BEGIN CERTIFICATE" in certifi.contents()
    with open(certifi.where()) as file:
        assert file.read(10)
    assert jinja2.Template("{% for x in y %}{{ x|upper }}{% endfor %}").render(y="ab") == "AB"
    assert slugify.slugify("Ein Käse für 3 €") == "ein-kase-fur-3-eur"
    assert {version(name) for name in ("attrs", "Jinja2", "python_slugify")} == {"999.1"}
    return [attrs, certifi, jinja2, slugify, Version]
"""
    modules = value(load(text, wheels))()
    assert all("_libraries" in getattr(one, "__module__", one.__name__) for one in modules)
