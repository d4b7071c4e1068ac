"""What a notebook shows: tables and pictures in HTML that data cannot break out of, and a line of text."""

import atexit
import builtins
import sys
import types
from decimal import Decimal
from html.parser import HTMLParser

import msgspec
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from aegis import Model, Secret, command, port
from aegis.adapters.components.python import PythonLoader
from aegis.core.component import Source
from aegis.core.deployment import Deployment
from aegis.core.flow import Flow, FlowState, Step, StepState, Wait
from aegis.core.graph import Edge, Graph, Node
from aegis.engine.host import ComponentStatus, HostStatus
from aegis.protocols import Failed
from aegis_kernel.display import (
    DeploymentView,
    HostView,
    MissingPandasError,
    Records,
    model_html,
    model_text,
    record_html,
    record_text,
    register,
    unregister,
)
from aegis_kernel.failures import FailedList
from aegis_kernel.flows import FlowView
from aegis_kernel.views import GraphView

NASTY = "<script>alert('x')</script><img src=x onerror=alert(1)>\" & '"


class Order(Model, endpoint="orders"):
    """An order, from payment to delivery."""

    total: Decimal
    note: str = ""
    items: list[dict[str, str]] = []  # noqa: RUF012 -- a Struct copies it

    @port(consumes="order.created", produces="payment.authorized")
    async def authorize(self) -> "Order":
        return self

    @authorize.undo
    async def void(self) -> "Order":
        return self

    @command(undo=True)
    def cancel(self) -> "Order":
        return self


class Page(HTMLParser):
    """Collects tags, the text, and the rows of tables; complains when tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.words, self.rows = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return "".join(self.words)


def harmless(html):
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    return page


@pytest.fixture
def orders():
    return Records(
        [Order(id="a1", total=Decimal("329.95")), Order(id="b2", total=Decimal(4), note=NASTY)]
    )


@pytest.fixture
def shell():
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    atexit.unregister(shell.atexit_operations)  # it expects to be the only shell of its process
    register(shell)
    return shell


def test_a_list_of_records_is_a_table(orders):
    page = harmless(orders._repr_html_())
    assert page.rows[:2] == [["id", "total", "note", "items"], ["a1", "329.95", "", "[]"]]
    assert page.rows[2][2].startswith("<script>alert('x')</script><img")
    assert repr(orders) == "2 records of Order"


def test_an_empty_list_says_so():
    assert Page(Records()._repr_html_()).text == "no records"
    assert repr(Records()) == "no records"


def test_a_long_list_is_cut_and_says_by_how_much():
    many = Records(Order(id=str(n), total=Decimal(n)) for n in range(130))
    page = Page(many._repr_html_())
    assert len(page.rows) == 51
    assert page.text.endswith("and 80 more")
    assert isinstance(many[3:5], Records)
    assert many[3].id == "3"


def test_a_long_value_is_cut_and_its_tooltip_has_more():
    html = record_html(Order(id="a", total=Decimal(1), note="x" * 5000))
    assert "x" * 199 + "\u2026<" in html
    assert len(html) < 2500


def test_a_data_frame_needs_pandas(orders, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPandasError, match="%pip install pandas"):
        orders.df()


def test_a_data_frame_gets_one_row_a_record(orders, monkeypatch):
    fake = types.SimpleNamespace(DataFrame=builtins.list)
    monkeypatch.setitem(sys.modules, "pandas", fake)
    assert orders.df()[0] == {"id": "a1", "total": Decimal("329.95"), "note": "", "items": []}


def test_a_record_shows_its_fields_and_no_secret():
    class Card(Model):
        key: Secret

    page = harmless(record_html(Order(id="a", total=Decimal("1.50"), note=NASTY)))
    assert page.rows[:3] == [["id", "a"], ["total", "1.50"], ["note", NASTY]]
    assert "4242" not in record_html(Card(key=Secret("4242")))
    assert record_text(Card(key=Secret("4242"))) == "Card(id='', key=Secret('***'))"


def test_a_record_is_one_line_of_text():
    text = record_text(Order(id="a", total=Decimal(1), note="x\n" * 500))
    assert text.startswith("Order(id='a', total=Decimal('1'), note='x\\nx")
    assert "\n" not in text
    assert len(text) < 140


def test_a_model_shows_endpoint_fields_ports_and_commands():
    page = harmless(model_html(Order))
    assert "/orders" in page.text
    assert "An order, from payment to delivery." in page.text
    assert page.rows == [
        ["id", "str", ""],
        ["total", "decimal.Decimal", ""],
        ["note", "str", ""],
        ["items", "list[dict[str, str]]", ""],
        ["\u21e5 authorize", "order.created \u2192 payment.authorized", "undo void"],
        ["\u203a cancel", "\u2192 order.updated", "undoes the open flow"],
    ]
    assert model_text(Order) == (
        "model Order; fields id, total, note, items; ports authorize; commands cancel"
    )


def test_a_registered_shell_shows_records_and_models(shell):
    order = Order(id="a", total=Decimal(1), note=NASTY)
    data, _ = shell.display_formatter.format(order)
    harmless(data["text/html"])
    assert data["text/plain"] == record_text(order)
    data, _ = shell.display_formatter.format(Order)
    assert data["text/html"] == model_html(Order)
    assert data["text/plain"] == model_text(Order)


def test_an_author_may_draw_a_record_otherwise(shell):
    class Map(Model):
        def _repr_html_(self):
            return "<b>a map</b>"

    assert shell.display_formatter.format(Map())[0]["text/html"] == "<b>a map</b>"


def test_an_unregistered_shell_shows_them_as_before(shell):
    unregister(shell)
    data, _ = shell.display_formatter.format(Order(total=Decimal(1)))
    assert "text/html" not in data


def test_a_graph_has_a_picture_and_a_listing():
    view = GraphView(
        Graph(
            (Node("model:o.Order", "model", NASTY, "o"), Node("event:x", "event", "x", "o")),
            (Edge("model:o.Order", "event:x", "produces"),),
        )
    )
    bundle = view._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == "2 nodes, 1 edges\nmodel:o.Order: produces event:x"
    assert bundle["image/svg+xml"].startswith("<svg ")
    assert bundle["image/svg+xml"] in bundle["text/html"]
    harmless(bundle["text/html"].partition("<style>")[0] + "</svg></div>")
    assert "<script" not in bundle["text/html"]
    assert view.data.nodes[0].label == NASTY
    assert repr(GraphView(Graph())) == "an empty graph: nothing is deployed"


def step(n, name, state, attempts=0, error=None):
    return Step(
        flow="f", n=n, model="orders.Order", port=name, record="a1", cause="e", key="k",
        state=state, attempts=attempts, error=error, updated="2026-01-01T00:00:00.000Z",
    )  # fmt: skip


def test_a_flow_shows_steps_failures_and_what_was_undone():
    flow = Flow(
        id="f", root="e", component="orders", version="1.0.0", digest="d", model="orders.Order",
        record="a1", state=FlowState.COMPENSATION_FAILED, created="", updated="", error=NASTY,
    )  # fmt: skip
    steps = [
        step(2, "ship", StepState.FAILED, 3, NASTY),
        step(1, "pick", StepState.UNDO_FAILED),
        step(0, "authorize", StepState.UNDONE),
    ]
    view = FlowView(flow, steps)
    page = harmless(view.html())
    assert [row[:5] for row in page.rows[1:]] == [
        ["0", "authorize", "\u21b6 undone", "", ""],
        ["1", "pick", "\u21b6\u2717 undo failed", "", ""],
        ["2", "ship", "\u2717 failed", "", "3"],
    ]
    assert page.rows[3][5] == NASTY
    assert "compensation failed at pick" in page.text
    assert 'host.continue_undo("f")' in page.text
    assert 'host.skip_undo("f")' in page.text
    text = f"({NASTY}): \u21b6 authorize \u21b6\u2717 pick \u2717 ship"
    assert repr(view) == f"flow of orders.Order a1: compensation failed at pick {text}"


def test_a_flow_shows_what_its_steps_wait_for_and_until_when():
    flow = Flow(
        id="f", root="e", component="orders", version="1.0.0", digest="d", model="orders.Order",
        record="a1", state=FlowState.RUNNING, created="", updated="",
    )  # fmt: skip
    asked = step(0, "pick", StepState.ASKED)
    asked.wait = Wait(events=(f"{NASTY}.picked", "warehouse.failed"))
    asked.updated, asked.due = "2026-01-01T23:59:00.000Z", "2026-01-02T14:05:10.000Z"
    again = step(1, "pay", StepState.READY, 2, NASTY)
    again.updated, again.due = "2026-01-01T14:05:00.000Z", "2026-01-01T14:05:07.500Z"
    view = FlowView(flow, [asked, again, step(2, "ship", StepState.WAITING)])
    waits = [row[3] for row in harmless(view.html()).rows[1:]]
    assert waits == [
        f"{NASTY}.picked or warehouse.failed until 2026-01-02 14:05:10Z",
        "its next attempt at 14:05:07Z",
        "its condition",
    ]
    assert [f"({text})" in repr(view) for text in waits] == [True] * 3
    assert "host.continue_undo" not in view.html()


def test_a_flow_that_was_canceled_says_so():
    flow = Flow(
        id="f", root="e", component="orders", version="1.0.0", digest="d", model="orders.Order",
        record="a1", state=FlowState.COMPENSATED, created="", updated="", canceled=True,
    )  # fmt: skip
    view = FlowView(flow, [step(0, "pay", StepState.UNDONE)])
    assert "compensated, canceled" in harmless(view.html()).text
    assert repr(view) == "flow of orders.Order a1: compensated, canceled: \u21b6 pay"


def test_what_failed_shows_its_input_and_what_has_the_same_error():
    def failed(seq, error):
        return Failed(
            subscriber="notes:hear", seq=seq, event="e", subject=f"note-{seq}", error=error,
            attempts=1, time="t", what="note.created",
        )  # fmt: skip

    several = FailedList(
        [failed(1, f"{NASTY} 11"), failed(2, f"{NASTY} 12"), failed(3, "another")],
        {"listener:notes:hear:1": {"text": NASTY, "n": 1}},
    )
    page = harmless(several._repr_html_())
    varying = NASTY.replace("1", "#")
    assert page.rows[1][:3] == ["2", "note.created for notes.hear", f"{varying} #"]
    one = next(row for row in page.rows if row[1] == "note-1")
    assert one[3].startswith("2 fields")
    assert NASTY in one[3].replace('\\"', '"')
    said = repr(several).splitlines()
    assert said[0].endswith(f"2 x note.created for notes.hear: {varying} #")
    assert "input: {" in said[2]
    assert [line.partition(" ")[0] for line in said[3:]] == [
        "listener:notes:hear:2",
        "listener:notes:hear:3",
    ]
    assert repr(FailedList()) == "nothing failed"
    assert "failures" not in FailedList([failed(3, "another")])._repr_html_()


def test_every_state_has_a_colour_and_every_step_a_sign():
    assert set(FlowView.COLOURS) == {*FlowState, *StepState}
    assert set(FlowView.SIGNS) == set(StepState)


def test_a_deployment_shows_what_serves_and_its_events():
    text = (
        "from aegis import Model, on, port\n"
        "class Order(Model, endpoint='orders'):\n"
        "    @port(consumes='order.created', produces='order.packed')\n"
        "    async def pack(self) -> 'Order': ...\n"
        "@on('order.*')\n"
        "async def tell() -> None: ...\n"
    )
    source = Source(name="orders", version="1.2.0", text=text, origin="cell 4", digest="ab12" * 16)
    deployment = Deployment(
        number=1, component="orders", version="1.2.0", digest=source.digest, origin=NASTY,
        who="", time="2026-01-01T00:00:00.000Z",
    )  # fmt: skip
    view = DeploymentView(deployment, PythonLoader().load(source), "http://127.0.0.1:8123")
    html = view._repr_html_()
    assert harmless(html).rows[:4] == [
        ["endpoints", "/orders"],
        ["consumes", "order.created, order.*"],
        ["produces", "order.created, order.packed"],
        ["from", NASTY],
    ]
    assert 'href="http://127.0.0.1:8123/aegis/api/models/orders"' in html
    assert repr(view) == "orders 1.2.0 (ab12ab12) serves /orders"


def status(**changes):
    component = ComponentStatus(
        name="orders", version="1.2.0", digest="ab12" * 16, origin=NASTY, endpoints=("orders",),
        models=("Order",), previous=None,
    )  # fmt: skip
    values = {"components": (component,), "waiting": (), "flows_open": 0, "events": 7, "failed": 0}
    return HostStatus(**{**values, "problems": (), **changes})


def test_a_host_shows_components_and_problems():
    view = HostView(status(problems=(NASTY,), waiting=("orders@1.1.0",), flows_open=2), "http://h")
    page = harmless(view._repr_html_())
    assert page.rows[1] == ["orders", "1.2.0", "ab12ab12", "/orders", NASTY]
    assert "\u26a0 flows wait for orders@1.1.0" in page.text
    assert f"\u26a0 {NASTY}" in page.text
    assert repr(view) == (
        f"host http://h: orders 1.2.0; 2 open flows; waits for orders@1.1.0; 1 problem\n  {NASTY}"
    )


def test_a_host_tells_which_components_are_webassembly():
    first = status().components[0]
    mill = msgspec.structs.replace(first, name="mill", language="wasm")
    view = HostView(status(components=(first, mill)))
    names = [row[0] for row in harmless(view._repr_html_()).rows[1:]]
    assert names == ["orders", "mill wasm"]
    assert repr(view) == "host: orders 1.2.0, mill 1.2.0 (wasm)"


def test_an_empty_host_says_how_to_begin():
    view = HostView(status(components=()))
    assert "%%component orders 1.0.0" in Page(view._repr_html_()).text
    assert repr(view) == "host: no component"
