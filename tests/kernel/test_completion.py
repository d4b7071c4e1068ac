"""What is completed where, and what `?` says: in a shell of this process, and in a real kernel."""

import sys

import pytest
from IPython.core.completer import provisionalcompleter

from aegis.core.errors import NotFoundError
from aegis_kernel.completion import place_of
from tests.kernel.process import ORDERS
from tests.kernel.shell import Session

SHOP = ORDERS.replace(
    "from aegis import Model, adapter, command, port",
    "from aegis import Model, adapter, command, config, on, port, relation",
).replace(
    "def greeting",
    '''
    def __init__(self, key: str = config("payments.key", "none")) -> None:
        self.key = key

@on("order.*")
async def hear() -> None:
    """Hears of orders."""

class Parcel(Model, endpoint="parcels"):
    """A parcel."""
    weight: int = 1
    order_id: str | None = None
    order = relation("Order", via="order_id")

    @command(produces="parcel.weighed")
    def weigh(self, grams: int) -> "Parcel":
        """Put it on the scales."""
        return self.update(weight=grams)

def greeting''',
)


@pytest.fixture(scope="module")
def session():
    before = sys.modules["__main__"]
    session = Session()
    session.run(SHOP)
    session.run("order = host.create(Order, total='1')\nparcel = host.create(Parcel)")
    session.run("name = 3")
    yield session
    session.close()
    sys.modules["__main__"] = before


def completed(session, text: str) -> dict[str, str]:
    """The completions at the end of `text`: the whole line that each gives, and what it is."""
    with provisionalcompleter():
        found = list(session.shell.Completer.completions(text, len(text)))
    return {text[: each.start] + each.text: each.type for each in found}


@pytest.mark.parametrize(
    ("text", "whole", "kind"),
    [
        ("%aegis sta", "%aegis status", "magic"),
        ("%aegis rollback or", "%aegis rollback orders", "module"),
        ("%aegis deploy x.py orders 1.1", "%aegis deploy x.py orders 1.1.0", "text"),
        ("%aegis reset orders --", "%aegis reset orders --yes", "keyword"),
        ("%aegis debug of", "%aegis debug off", "keyword"),
        ("%aegis import x.ndjson re", "%aegis import x.ndjson replace", "keyword"),
        ("%aegis about Order.au", "%aegis about Order.authorize", "text"),
        ("%aegis about order.cr", "%aegis about order.created", "text"),
        ("%%component or", "%%component orders", "module"),
        ("%%component orders ", "%%component orders 1.0.1", "text"),
        ("%%component --p", "%%component --preview", "keyword"),
        ("%%component --preview or", "%%component --preview orders", "module"),
        ('host.create("Ord', 'host.create("Order', "class"),
        ("x = [host.get('orders.P", "x = [host.get('orders.Parcel", "class"),
        ("host.list(Order, to", "host.list(Order, total=", "param"),
        ("host.list(\n    Order,\n    au", "host.list(\n    Order,\n    authorization=", "param"),
        ("host.list('Parcel', sort='-w", "host.list('Parcel', sort='-weight", "property"),
        ("host.query(Order, to", "host.query(Order, total=", "param"),
        ("host.count(Order, _cr", "host.count(Order, _created=", "param"),
        ("host.query('Parcel', sort='-_up", "host.query('Parcel', sort='-_updated", "property"),
        ("host.update(parcel, we", "host.update(parcel, weight=", "param"),
        ('host.run(order, "auth', 'host.run(order, "authorize', "method"),
        ('host.run(unknown, "auth', 'host.run(unknown, "authorize', "method"),
        ('await host.aio.run(order, "auth', 'await host.aio.run(order, "authorize', "method"),
        ("host.call(parcel, 'w", "host.call(parcel, 'weigh", "method"),
        ("host.call(parcel, 'weigh', gr", "host.call(parcel, 'weigh', grams=", "param"),
        ('host.related(parcel, "or', 'host.related(parcel, "order', "property"),
        ('host.events("order.cr', 'host.events("order.created', "text"),
        ('host.bind("orders.', 'host.bind("orders.Payments', "property"),
        (
            'host.bind("orders.Payments", "Ca',
            'host.bind("orders.Payments", "CardPayments',
            "class",
        ),
        ('host.configure({"x": 1, "pay', 'host.configure({"x": 1, "payments.key', "property"),
        ('host.configure({"ports.back', 'host.configure({"ports.backoff_most', "property"),
        ('host.undeploy("o', 'host.undeploy("orders', "module"),
    ],
)
def test_what_is_typed_is_completed(session, text, whole, kind):
    found = completed(session, text)
    assert found.get(whole) == kind, found


def test_files_and_folders_are_completed(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shops").mkdir()
    (tmp_path / "shops" / "shop.py").touch()
    (tmp_path / "shop.txt").touch()
    assert completed(session, "%aegis deploy sh") == {"%aegis deploy shops/": "path"}
    assert "%aegis deploy shops/shop.py" in completed(session, "%aegis deploy shops/s")
    assert "path" not in completed(session, "%aegis data nowhere/").values()


@pytest.mark.parametrize(
    "text",
    ["import js", "parcel.wei", "na", "print('order.cr", "host.cre", "[].app", "host.create(Par"],
)
def test_pythons_own_completions_stay(session, text):
    (matcher,) = session.shell.Completer.custom_matchers
    ours = completed(session, text)
    session.shell.Completer.custom_matchers.clear()
    try:
        assert ours == completed(session, text)
    finally:
        session.shell.Completer.custom_matchers.append(matcher)


@pytest.mark.parametrize(
    "text",
    [
        "host.create(",
        "host.create('",
        "host.create(unknown, ",
        "host.list(1 +, '",
        'host.run("""',
        "host.bind('orders', '",
        "host.configure({",
        "host.)('",
        "%aegis ",
        "%aegis deploy /nowhere/",
        "%aegis nothing ",
        "%%component ",
        "%%component nothing ",
        "x = '\\",
        "host.events(f'{",
        "# host.create('",
        "\u0000host.get('\U0001f600",
    ],
)
def test_nothing_that_is_typed_makes_it_fail(session, text):
    completed(session, text)


def test_a_closed_host_completes_nothing_and_fails_nowhere(session):
    other = Session()
    other.close()
    for text in ("%aegis rollback ", "host.create('", "%%component "):
        assert completed(other, text) is not None
    assert other.notebook.knowledge.names() == []


@pytest.mark.parametrize(
    ("text", "callee", "arguments", "string"),
    [
        ("f(", "f", (), None),
        ("a.b(c, 'd', e='f", "a.b", ("c", " 'd'"), "f"),
        ("f(g(1, 2), [3, 4], 'x", "f", ("g(1, 2)", " [3, 4]"), "x"),
        ("f('a)b', '", "f", ("'a)b'",), ""),
        ("f(1  # it's\n  , '", "f", ("1  # it's\n  ",), ""),
        ("f('''a\nb", "f", (), "a\nb"),
    ],
)
def test_the_innermost_open_call_is_found(text, callee, arguments, string):
    place = place_of(text)
    assert (place.callee, place.arguments, place.string) == (callee, arguments, string)


@pytest.mark.parametrize("text", ["", "f()", "(1, ", "x = 'f(", "f(1) + [2"])
def test_outside_a_call_there_is_none(text):
    place = place_of(text)
    assert place is None or place.callee == ""


# --- what ? says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        ("Order", ["Order of component orders 1.0.0", "total", "Decimal", "authorize", "cell 1"]),
        ("order", ["Order of component orders 1.0.0"]),
        ("Order.authorize", ["order.created", "payment.authorized", "timeout 5 s, no retry"]),
        ("order.authorize", ["payments: Payments", "calls", "cell 1, line"]),
        ("Parcel.weigh", ["Put it on the scales.", "parcel.weighed", "weigh(self, grams: int)"]),
        ("Parcel", ["A parcel.", "produces parcel.weighed", "/aegis/api/models/parcels"]),
        ("CardPayments", ["Does", "Payments", "payments.key", "cell 1"]),
        ("hear", ["Hears of orders.", "order.*"]),
        ("host", ["http://127.0.0.1", "orders 1.0.0", "nothing is kept on disk"]),
        ("len", ["Return the number of items in a container."]),
        ("name", ["int"]),
    ],
)
def test_a_question_mark_shows_what_the_host_knows(session, thing, said):
    text = session.shell.object_inspect_mime(thing)["text/plain"]
    for part in said:
        assert part in text, text
    assert "aegis_components" not in text


def test_two_question_marks_show_the_source_too(session):
    assert "class Parcel" in session.shell.object_inspect_mime("Parcel", 1)["text/plain"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("orders", ["orders 1.0.0", "Order, Parcel", "CardPayments", "hear"]),
        ("orders.Order", ["order.created, order.updated"]),
        ("Parcel.weigh", ["parcel.weighed"]),
        ("order.created", ["orders.Order", "orders.Order.authorize, orders.hear"]),
        ("order.*", ["order.created", "orders.hear"]),
        ("parcel.weighed", ["orders.Parcel.weigh", "nobody yet"]),
        ("CardPayments", ["payments.key"]),
    ],
)
def test_about_tells_of_anything_by_its_name(session, name, said):
    text = repr(session.run(f"%aegis about {name}"))
    for part in said:
        assert part in text, text


def test_about_something_unknown_says_what_it_could_be(session):
    _, traceback = session.fails("%aegis about Ordr", NotFoundError)
    assert "did you mean 'Order'" in traceback


def test_a_frontend_gets_the_same(kernel):
    assert kernel.run(ORDERS).status == "ok"
    asked = kernel.client.complete("host.create('Ord", reply=True, timeout=30)["content"]
    assert asked["matches"] == ["Order"]
    assert asked["cursor_start"] == len("host.create('")
    found = kernel.client.inspect("Order.authorize", reply=True, timeout=30)["content"]
    assert "payment.authorized" in found["data"]["text/plain"]
