"""Component files: what they say of themselves, and the files beside them that belong to them."""

import sys

import pytest

from aegis.adapters.components.files import component_files, read_component
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.component import Source
from aegis.core.errors import ComponentError
from aegis.core.flow import FlowState
from aegis.testing import memory_host

ORDERS = """\
__version__ = "1.2.0"
from aegis import Model
import pricing

class Order(Model, endpoint="orders"):
    total: int = pricing.PRICE

def price():
    return pricing.PRICE
"""


@pytest.fixture
def folder(tmp_path):
    """Writes files into a folder: `folder(orders="...", **{"rates/eu": "..."})`."""

    def write(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def load(folder):
    """Loads `orders.py` with the files beside it; all is unloaded at the end."""
    loader, loaded, before = PythonLoader(), [], set(sys.modules)

    def read_and_load(**texts):
        reading = read_component(folder(**texts) / "orders.py")
        loaded.append(loader.load(reading.result()))
        return loaded[-1]

    yield read_and_load
    for revision in loaded:
        loader.unload(revision)
    left = sys.modules.keys() - before
    assert [name for name in left if name.startswith("aegis_components.orders")] == []


# --- what a file says ---------------------------------------------------------------------------


def test_a_file_is_named_by_its_stem_and_says_its_version(folder):
    path = folder(orders=ORDERS, pricing="PRICE = 3\n") / "orders.py"
    source = read_component(path).result()
    assert (source.name, source.version, source.origin) == ("orders", "1.2.0", str(path))
    assert source.imports == {"pricing.py": "PRICE = 3\n"}
    assert read_component(path, "shop", "2.0.0").result().version == "2.0.0"


@pytest.mark.parametrize(
    ("name", "content", "said", "line"),
    [
        ("orders", b"x = 1\n", "says no version (write __version__ = ", None),
        ("orders", b"if True:\n    __version__ = '1.0.0'\n", "says no version", None),
        ("orders", b"\n__version__ = 'one'\n", "line 2: __version__ is no version", 2),
        ("orders", b"__version__: str = f'{1}.0.0'\n", "line 1: __version__ is no version", 1),
        ("orders", b"__version__ = '1.0.0'\ndef f(:\n", "line 2: invalid syntax: def f(:", 2),
        ("orders", b"", "orders.py is empty", None),
        ("orders", b"# \xe4\n", "save it as UTF-8", None),
        ("orders", b"# coding: klingon\n", "klingon", None),
        ("orders", b"__version__ = '1.0.0'\0", "null bytes", None),
        ("My Orders", b"__version__ = '1.0.0'\n", "rename the file, or give NAME VERSION", None),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, name, content, said, line):
    path = tmp_path / f"{name}.py"
    path.write_bytes(content)
    with pytest.raises(ComponentError) as refused:
        read_component(path).result()
    assert said in str(refused.value)
    assert refused.value.fields.get("line") == line


def test_a_file_is_read_in_the_encoding_that_it_says(tmp_path):
    path = tmp_path / "orders.py"
    path.write_bytes(
        "# coding: latin-1\n__version__ = '1.0.0'\nNAME = 'K\u00e4se'\n".encode("latin-1")
    )
    assert "Käse" in read_component(path).result().text


def test_the_components_of_a_folder_are_those_that_say_a_version(folder):
    here = folder(orders=ORDERS, pricing="PRICE = 3\n", broken="__version__ = '1'\ndef f(:\n")
    folder(_draft="__version__ = '1.0.0'\n", **{"rates/eu": "__version__ = '1.0.0'\n"})
    (here / "folder.py").mkdir()
    (here / "bytes.py").write_bytes(b"\xff\xfe__version__")
    assert [path.name for path in component_files(here)] == ["broken.py", "orders.py"]


# --- what belongs to it -------------------------------------------------------------------------


def test_what_it_imports_belongs_to_it_and_to_nobody_else(load):
    first = load(orders=ORDERS, pricing="PRICE = 3\n")
    second = load(pricing="PRICE = 4\n")
    assert (first.names["price"](), second.names["price"]()) == (3, 4)
    assert "pricing" not in sys.modules
    assert first.digest != second.digest


def test_every_way_to_import_a_file_means_the_same_module(load):
    text = """\
__version__ = "1.0.0"
import email.message
import rates.eu
from aegis import Model
from rates import eu, us as american
from rates.eu import *
from . import pricing
from .rates.us import TAX

class Order(Model, endpoint="orders"):
    pass

def facts():
    try:
        match 1:
            case 1:
                with open("/dev/null"):
                    import late
    finally:
        pass
    import rates.eu as again
    return (VAT, TAX, eu is again, american.eu is eu, pricing.order() is Order, late.WHEN)
"""
    revision = load(
        orders=text,
        pricing="def order():\n    import orders\n    return orders.Order\n",
        late="WHEN = 'at run time'\n",
        email="raise SystemError('the standard library is meant')\n",
        **{
            "rates/__init__": "",
            "rates/eu": "from . import us\n__all__ = ['VAT']\nVAT = 19\n",
            "rates/us": "import rates.eu as eu\nfrom ..pricing import order\nTAX = 7\n",
            "unused": "raise SystemError\n",
        },
    )
    assert revision.names["facts"]() == (19, 7, True, True, True, "at run time")
    assert list(revision.source.imports) == [
        *("late.py", "pricing.py", "rates/__init__.py", "rates/eu.py", "rates/us.py")
    ]


def test_what_only_checkers_import_does_not_belong_to_it(load):
    text = "import typing\nif typing.TYPE_CHECKING:\n    import pricing\nelse:\n    import late\n"
    revision = load(orders=ORDERS.replace("import pricing\n", text + "import pricing\n"), late="",
                    pricing="PRICE = 1\n")  # fmt: skip
    assert list(revision.source.imports) == ["late.py", "pricing.py"]
    text = ORDERS.replace("import pricing\n", text).replace("pricing.PRICE", "0")
    assert list(load(orders=text).source.imports) == ["late.py"]


def test_models_and_adapters_may_come_from_files_beside_it(load):
    revision = load(
        orders="__version__ = '1.0.0'\nfrom model import Order, help\nfrom cards import Cards\n",
        model=(
            "from aegis import Model, adapter, port\nfrom cards import Payments\n"
            "def help(): pass\n"
            "class Order(Model, endpoint='orders'):\n    paid: str = ''\n"
            "    @port(consumes='order.created', produces='order.paid')\n"
            "    async def pay(self, payments: Payments = adapter()) -> 'Order':\n"
            "        return self.update(paid=await payments.pay())\n"
        ),
        cards=(
            "from typing import Protocol\nfrom aegis import emit\n"
            "class Payments(Protocol):\n    async def pay(self) -> str: ...\n"
            "class Cards(Payments):\n    async def pay(self) -> str:\n"
            "        emit('card.charged')\n        return 'by card'\n"
        ),
    )
    assert list(revision.by_name) == ["Order"]
    assert [part.name for part in revision.parts] == ["Cards"]
    assert set(revision.names) == {"Order", "Cards"}
    assert "card.charged" in revision.emits


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("A = 1\nB = A / 0\n", "rates/eu.py, line 2: ZeroDivisionError", 2),
        ("A = (1\n", "rates/eu.py, line 1: '(' was never closed: A = (1", 1),
        ("import nowhere_at_all\n", "rates/eu.py, line 1: ModuleNotFoundError", 1),
        ("from ... import x\n", "leads out of the component's folder", 1),
    ],
)
def test_an_error_in_an_imported_file_names_that_file_and_line(load, text, said, line):
    with pytest.raises(ComponentError) as refused:
        load(orders=ORDERS, pricing="PRICE = 1\nimport rates.eu\n", **{"rates/eu": text})
    assert said in str(refused.value)
    assert (refused.value.fields["file"], refused.value.fields["line"]) == ("rates/eu.py", line)


def test_an_imported_file_that_cannot_be_read_is_named(folder):
    here = folder(orders=ORDERS)
    (here / "pricing.py").write_bytes(b"\xff\xfe")
    reading = read_component(here / "orders.py")
    with pytest.raises(ComponentError, match=r"pricing\.py has no text"):
        reading.result()
    assert here / "pricing.py" in reading.paths


def test_it_depends_on_files_that_are_not_there_yet(folder):
    here = folder(orders=ORDERS)
    assert {here / "pricing.py", here / "pricing" / "__init__.py"} <= read_component(
        here / "orders.py"
    ).paths


async def test_the_digest_and_the_store_have_all_of_it(load):
    revision = load(orders=ORDERS, pricing="PRICE = 3\n")
    source = revision.source
    async with memory_host() as host:
        deployment = await host.deploy(
            source.name, source.version, source.text, imports=source.imports
        )
        stored = await host.store.source(deployment.digest)
        assert stored is not None
        assert stored.imports == {"pricing.py": "PRICE = 3\n"}
        again = await host.deploy(source.name, source.version, source.text, imports=source.imports)
        assert again == deployment
    plain = Source.of(source.name, source.version, source.text)
    assert plain.digest != deployment.digest


async def test_after_a_restart_flows_go_on_with_the_stored_files(folder, tmp_path):
    text = (
        "__version__ = '1.0.0'\nfrom aegis import Model, command, port\nimport boxes\n"
        "class Order(Model, endpoint='orders'):\n    approved: bool = False\n    box: str = ''\n"
        "    @command()\n    def approve(self) -> 'Order':\n"
        "        return self.update(approved=True)\n"
        "    @port(consumes='order.created', when=lambda order: order.approved)\n"
        "    def pack(self) -> 'Order':\n        return self.update(box=boxes.KIND)\n"
    )
    path = folder(orders=text, boxes="KIND = 'wood'\n") / "orders.py"
    source = read_component(path).result()
    async with memory_host(store=SqliteStore(tmp_path / "data")) as host:
        await host.deploy(source.name, source.version, source.text, imports=source.imports)
        order = await host.create("Order")
    (path.parent / "boxes.py").unlink()
    async with memory_host(store=SqliteStore(tmp_path / "data")) as host:
        assert await host.resume() != []
        await host.call(order, "approve")
        flow = await host.wait(order, 5)
        assert flow is not None
        assert flow.state is FlowState.COMPLETED
        assert (await host.get("Order", order.id)).box == "wood"
