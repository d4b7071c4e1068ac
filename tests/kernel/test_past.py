"""A cell shows what led to what, and how a record was, in HTML that data cannot break out of."""

from decimal import Decimal

import pytest
from IPython.core.error import UsageError

from aegis import Model
from aegis.core.errors import ComponentError, NotFoundError
from aegis.core.past import Past, PastFlow, PastStep
from aegis.core.replay import Replay, pair
from aegis.core.why import Line, Why
from aegis_kernel.past import PastView, ReplayView, WhyView
from tests.kernel.process import ORDERS
from tests.kernel.shell import Session
from tests.kernel.test_display import NASTY, Page

TIME = "2026-11-26T22:00:00.000Z"


class Order(Model, endpoint="orders"):
    total: Decimal
    note: str = ""


def nasty_tree():
    line = Line(
        depth=0, kind="event", name=NASTY, time=TIME, about=NASTY, by=NASTY, changed={NASTY: NASTY}
    )
    step = Line(depth=1, kind="step", name=NASTY, time=TIME, state="failed", error=NASTY)
    return WhyView(Why(asked=NASTY, lines=(line, step), cut=NASTY, left_out=3))


def nasty_past():
    step = PastStep(n=1, model=NASTY, port=NASTY, record=NASTY, cause=NASTY, state="done")
    flow = PastFlow(
        id=NASTY, root=NASTY, model=NASTY, record=NASTY, component=NASTY, version=NASTY,
        state="completed", steps=(step,),
    )  # fmt: skip
    record = Order(id=NASTY, total=Decimal(1), note=NASTY)
    return PastView(
        Past(seq=1, time=TIME, model=NASTY, id=NASTY, record=record, revision=1, flows=(flow,))
    )


def nasty_replay():
    pairs = (pair(NASTY, {NASTY: NASTY}, None), pair(NASTY, NASTY, NASTY))
    return ReplayView(
        Replay(
            asked=NASTY, flow=NASTY, revision=NASTY, same=False, reason=NASTY,
            steps=pairs, events=pairs, state=pairs, notes=(NASTY,),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "view", [nasty_tree(), nasty_past(), nasty_replay()], ids=["why", "past", "replay"]
)
def test_data_cannot_break_out_of_it(view):
    Page(view.html())
    assert "<script" not in view.html()
    assert "<img" not in view.html()
    assert set(view._repr_mimebundle_()) >= {"text/html", "text/plain"}


def test_a_record_that_was_not_there_is_said():
    view = PastView(Past(seq=1, time=TIME, model="a.A", id="1"))
    assert "it was not there" in view.html()
    assert "it was not there" in repr(view)
    assert view.record is None


@pytest.fixture(scope="module")
def session():
    session = Session()
    yield session
    session.close()


def test_a_cell_follows_a_record_and_reads_its_past(session):
    session.run(ORDERS)
    session.run("order = host.create(Order, total='9.50'); host.wait(order, 5)")
    why = session.run("host.why(order)")
    assert why.data.lines[0].by == "cell"
    assert repr(why) == str(why) == str(session.run("host.why(order.id)"))
    assert "image/svg+xml" in why._repr_mimebundle_()
    assert session.run("%aegis why 1").data.lines == why.data.lines
    past = session.run("host.at(1, order)")
    assert past.record.id == session.shell.user_ns["order"].id
    session.fails("%aegis why nothing", NotFoundError)


def test_a_cell_runs_a_flow_again(session, tmp_path):
    session.run(ORDERS)
    session.run("order = host.create(Order, total='9.50'); host.wait(order, 5)")
    replay = session.run("host.replay(host.flow(order).flow.id)")
    assert replay.same
    assert session.run("host.replay(host.flow(order))").same
    assert session.run("host.why(host.flow(order))").data.lines
    assert "the same" in repr(replay)
    assert session.run(f"%aegis replay {replay.data.flow}").same
    file = tmp_path / "orders.py"
    file.write_text("import nothing_here\n")
    session.fails(f"%aegis replay {replay.data.flow} {file}", ComponentError)
    session.fails(f"%aegis replay {replay.data.flow} {tmp_path / 'none.py'}", UsageError)
