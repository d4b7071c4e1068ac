"""The monitor tells what changed since a cursor: figures, events, flows, failures, status, log."""

import asyncio
import logging
import threading

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.core.errors import NotFoundError, Refused
from aegis.core.trace import CELL, sequence
from aegis.engine import monitor as limits
from aegis.engine.context import CALLER
from aegis.testing import memory_host
from tests.engine.shop import TEXT, never, quiet, until

ALL = frozenset({"status", "figures", "events", "flows", "failed", "log"})
PAY = "port:orders.Order.pay"

QUIET = """
from aegis import Model, command

class Note(Model, endpoint="notes"):
    stars: int = 0
    @command(produces="note.starred")
    def star(self) -> "Note":
        return self.update(stars=self.stars + 1)
"""

LOUD = """
import logging
from aegis import Model, command, log

class Note(Model, endpoint="notes"):
    @command
    def say(self) -> None:
        log("from the note", id=self.id)
        logging.getLogger(__name__).info("from its module")
"""


def lines(host):
    return [(line.level, line.source, line.text) for line in host.monitor.frame(0, ALL).log]


async def test_a_view_gets_everything_first_and_then_what_changed(shop):
    whole = shop.monitor.frame(0, ALL)
    assert whole.reset
    assert [one.name for one in whole.status.components] == ["orders"]
    assert whole.status.graph == shop.graph().digest
    nothing = shop.monitor.frame(whole.cursor, ALL)
    assert (nothing.since, nothing.reset, nothing.status, nothing.failed) == (
        whole.cursor,
        False,
        None,
        None,
    )
    order = await shop.create("Order", total="5")
    await quiet(shop)
    more = shop.monitor.frame(whole.cursor, ALL)
    assert [line.type for line in more.events] == [
        "order.created",
        "order.paid",
        "order.packed",
        "order.shipped",
    ]
    assert [line.seq for line in more.events] == [1, 2, 3, 4]
    assert {line.component for line in more.events} == {"orders"}
    (flow,) = more.flows
    assert (flow.record, flow.state) == (order.id, "completed")
    assert [(step.port, step.state) for step in flow.steps] == [
        ("pay", "done"),
        ("pack", "done"),
        ("ship", "done"),
    ]
    assert (more.status.events, more.status.flows_open) == (4, 0)
    assert more.rate > 0


async def test_figures_are_by_the_ids_of_the_graph(shop):
    for _ in range(3):
        await shop.create("Order", total="5")
    await quiet(shop)
    figures = shop.monitor.frame(0, ALL).figures
    graph = shop.graph()
    ids = {node.id for node in graph.nodes} | {edge.id for edge in graph.edges} | {"loop"}
    assert figures.keys() <= ids
    part = "part:orders.Desk"
    for id in (
        "model:orders.Order",
        PAY,
        "event:order.created",
        "event:order.paid",
        "produces:model:orders.Order>event:order.created",
        f"produces:{PAY}>event:order.paid",
        f"consumes:event:order.created>{PAY}",
        f"uses:{PAY}>{part}",
    ):
        assert figures[id].calls == 3, id
    assert figures[PAY].state == "ok"
    assert 0 <= figures[f"uses:{PAY}>{part}"].p50 <= figures[PAY].p50 <= figures[PAY].p99
    assert figures["event:order.paid"].p50 is None


async def test_a_port_that_fails_makes_its_component_failing_until_it_works(shop, desk):
    desk.replies["pay"] = OSError("no line")
    await shop.create("Order", total="5")
    await quiet(shop)
    frame = shop.monitor.frame(0, ALL)
    figure = frame.figures[PAY]
    assert (figure.state, figure.calls, figure.errors) == ("failing", 3, 3)
    assert figure.error == "OSError: no line"
    (component,) = frame.status.components
    assert (component.health, component.problem) == (
        "failing",
        "orders.Order.pay: OSError: no line",
    )
    desk.replies.clear()
    await shop.create("Order", total="5")
    await quiet(shop)
    later = shop.monitor.frame(frame.cursor, ALL)
    assert later.figures[PAY].state == "ok"
    assert later.status.components[0].health == "ok"


async def test_a_refusal_counts_as_an_error_but_the_port_works(desk):
    text = TEXT.replace(
        'return self.update(paid=await partner.do("pay", self.id))', 'raise Refused("no credit")'
    )
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text)
        await host.create("Order", total="5")
        await quiet(host)
        figure = host.monitor.frame(0, ALL).figures[PAY]
    assert (figure.errors, figure.state) == (1, "ok")
    assert "no credit" in figure.error


async def test_what_is_under_way_is_running(shop, desk):
    desk.replies["pay"] = never
    order = await shop.create("Order", total="5")
    await until(lambda: desk.running)
    frame = shop.monitor.frame(0, ALL)
    assert frame.figures[PAY].running == 1
    assert frame.figures[f"uses:{PAY}>part:orders.Desk"].running == 1
    assert frame.flows[0].state == "running"
    await shop.call(order, "cancel")
    await quiet(shop)
    after = shop.monitor.frame(frame.cursor, ALL)
    # It was cut: that says nothing of the port.
    assert (after.figures[PAY].running, after.figures[PAY].errors) == (0, 0)


async def test_only_the_events_of_the_pattern_and_the_newest_fifty():
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", QUIET)
        begun = host.monitor.frame(0, ALL)
        notes = [await host.create("Note") for _ in range(60)]
        await host.call(notes[0], "star")
        every = host.monitor.frame(begun.cursor, ALL)
        assert [line.seq for line in every.events] == list(range(12, 62))
        assert every.skipped == 11
        starred = host.monitor.frame(begun.cursor, ALL, "note.st*")
        assert [line.type for line in starred.events] == ["note.starred"]
        assert starred.skipped == 0


async def test_a_burst_is_counted_and_a_pattern_that_cannot_be_counted_begins_anew():
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", QUIET)
        await host.create("Note")
        seen = host.monitor.frame(0, ALL)
        for _ in range(limits.EVENTS + 200):
            await host.create("Note")
        frame = host.monitor.frame(seen.cursor, ALL)
        assert not frame.reset
        assert len(frame.events) + frame.skipped == limits.EVENTS + 200
        assert host.monitor.frame(seen.cursor, ALL, "note.*").reset
        assert host.monitor.frame(seen.cursor - 1, ALL).reset


async def test_topics_that_are_not_wanted_are_not_built(shop):
    await shop.create("Order", total="5")
    await quiet(shop)
    frame = shop.monitor.frame(0, frozenset({"flows"}))
    assert frame.flows
    assert (frame.status, frame.figures, frame.events, frame.failed, frame.log) == (
        None,
        {},
        (),
        None,
        (),
    )


async def test_a_cursor_of_the_future_is_of_another_run(shop):
    assert shop.monitor.frame(shop.monitor.cursor + 1, ALL).reset


async def test_whoever_waits_is_woken_by_the_next_change(shop):
    await asyncio.sleep(0)
    waiting = asyncio.create_task(shop.monitor.changed(shop.monitor.cursor))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    shop.monitor.report("watch:orders", "line 3: invalid syntax")
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(shop.monitor.changed(0), 1)


async def test_a_problem_stands_until_it_is_cleared(shop):
    before = shop.monitor.frame(0, ALL)
    shop.monitor.report("watch:orders", "line 3: invalid syntax")
    assert shop.status().problems == ("line 3: invalid syntax",)
    status = shop.monitor.frame(before.cursor, ALL).status
    assert [(one.source, one.text) for one in status.problems] == [
        ("watch:orders", "line 3: invalid syntax")
    ]
    assert status.components[0].health == "broken"
    cursor = shop.monitor.cursor
    shop.monitor.report("watch:orders", "line 3: invalid syntax")
    assert shop.monitor.cursor == cursor  # nothing new
    shop.monitor.clear("watch:orders")
    assert shop.status().problems == ()
    assert shop.monitor.frame(cursor, ALL).status.components[0].health == "ok"


async def test_a_status_says_where_the_host_is(shop):
    shop.monitor.at(address="http://127.0.0.1:1", notebook="orders.ipynb")
    shop.monitor.at(data="/data")
    status = shop.monitor.frame(0, ALL).status
    assert (status.address, status.notebook, status.data) == (
        "http://127.0.0.1:1",
        "orders.ipynb",
        "/data",
    )


async def test_the_log_of_host_and_components_is_heard_from_any_thread_and_not_printed(capsys):
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", LOUD)
        note = await host.create("Note")
        await host.call(note, "say")
        said = threading.Thread(target=logging.getLogger("aegis.http").warning, args=("slow",))
        said.start()
        said.join()
        found = lines(host)
        assert ("info", "notes", f"from the note id={note.id!r}") in found
        assert ("info", "notes", "from its module") in found
        assert found[-1] == ("warning", "http", "slow")
        numbers = [line.n for line in host.monitor.frame(0, ALL).log]
        assert numbers == sorted(set(numbers))
        cursor = host.monitor.cursor
        for n in range(limits.LINES + 5):
            host.monitor.note("debug", "host", str(n))
        assert len(host.monitor.frame(cursor, ALL).log) == limits.LINES
    assert capsys.readouterr() == ("", "")
    # A closed host hears nothing more and leaves the loggers as they were.
    assert logging.getLogger("aegis").handlers == []
    assert logging.getLogger("aegis").level == logging.NOTSET


async def test_after_a_restart_flows_and_failures_are_there_and_the_run_has_another_name(desk):
    store = MemoryStore()
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        done = await host.create("Order", total="5")
        await quiet(host)
        desk.replies["pay"] = OSError("no line")
        undone = await host.create("Order", total="5")
        await quiet(host)
        boot = host.monitor.boot
    async with memory_host(values={"say": desk}, store=store) as host:
        frame = host.monitor.frame(0, ALL)
        assert host.monitor.boot != boot
        assert [(flow.record, flow.state) for flow in frame.flows] == [
            (done.id, "completed"),
            (undone.id, "compensated"),
            (undone.id, "completed"),  # that of its `canceled`
        ]
        (failed,) = frame.failed
        assert (failed.kind, failed.what, failed.subject) == ("flow", "orders.Order", undone.id)
        assert failed.error == "pay: OSError: no line"
        assert frame.status.failed == 1


async def test_a_flow_that_waits_for_code_says_so(desk):
    store = MemoryStore()
    async with memory_host(values={"say": desk}, store=store) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await host.create("Order", total="5", approved=False)
        await until(lambda: desk.told == ["pay"])
    async with memory_host(values={"say": desk}, store=store) as host:
        frame = host.monitor.frame(0, ALL)
        assert frame.flows[0].waits == "component orders@1.0.0"
        assert frame.status.waiting == ("component orders@1.0.0",)
        await host.deploy("orders", "1.0.0", TEXT)
        assert host.monitor.frame(frame.cursor, ALL).flows[0].waits is None


async def test_dropped_data_leaves_the_views(shop, desk):
    desk.replies["pay"] = OSError("no line")
    await shop.create("Order", total="5")
    await quiet(shop)
    before = shop.monitor.frame(0, ALL)
    assert before.failed
    await shop.reset("orders")
    after = shop.monitor.frame(before.cursor, ALL)
    assert (after.reset, after.flows, after.failed, after.status.failed) == (True, (), (), 0)


async def test_more_failures_than_are_kept_are_still_counted(shop, desk, monkeypatch):
    monkeypatch.setattr(limits, "FAILED", 3)
    desk.replies["pay"] = Refused("no credit")
    for _ in range(5):
        await shop.create("Order", total="5")
    await quiet(shop)
    await until(lambda: shop.monitor.status().failed == 5)
    await until(lambda: len(shop.monitor.failed()) == 3)
    newest = (await shop.failed())[-1]
    await shop.discard(newest.subscriber)
    await until(lambda: shop.monitor.status().failed == 4)
    await until(lambda: len(shop.monitor.failed()) == 3)


async def test_a_trace_holds_what_was_called_while_it_was_open(shop):
    await shop.create("Order", total="1")
    await quiet(shop)
    with shop.monitor.trace() as trace:
        order = await shop.create("Order", total="5")
        await quiet(shop)
    await shop.create("Order", total="1")
    calls = [(call.kind, call.source, call.target) for call in trace.calls]
    assert {call.about for call in trace.calls if call.kind != "call"} == {order.id}
    assert calls.count(("call", CELL, "model:orders.Order")) == 1
    assert ("consumes", "event:order.created", PAY) in calls
    assert ("call", PAY, "part:orders.Desk") in calls
    assert ("produces", PAY, "event:order.paid") in calls
    shown = sequence(trace.calls)
    assert shown.participants[:2] == (CELL, "model:orders.Order")
    assert shop.monitor.traces == ()


async def test_a_callers_trace_leaves_out_what_others_set_off(shop):
    async def order(caller):
        CALLER.set(caller)
        return await shop.create("Order", total="5")

    with shop.monitor.trace("cell 7") as trace:
        own, _ = await asyncio.gather(order("cell 7"), order("cell 6"))
        await quiet(shop)
    assert {call.about for call in trace.calls if call.kind != "call"} == {own.id}
    assert ("call", PAY, "part:orders.Desk") in [(c.kind, c.source, c.target) for c in trace.calls]


async def test_a_long_trace_is_cut_and_counts_the_rest(shop, monkeypatch):
    monkeypatch.setattr(limits, "TRACED", 5)
    with shop.monitor.trace() as trace:
        await shop.create("Order", total="5")
        await quiet(shop)
    assert len(trace.calls) == 5
    assert trace.left_out > 5


async def test_the_rate_falls_to_nothing_when_events_stop(shop, monkeypatch):
    monkeypatch.setattr(limits, "WINDOW", 1)
    await shop.create("Order", total="5")
    await quiet(shop)
    frame = shop.monitor.frame(0, ALL)
    async with asyncio.timeout(10):
        while frame.rate:
            await shop.monitor.changed(frame.cursor)
            frame = shop.monitor.frame(frame.cursor, ALL)


async def test_what_is_shown_keeps_no_replaced_code(desk):
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await host.create("Order", total="5")
        await quiet(host)
        host.monitor.frame(0, ALL)
        for n in (1, 2):
            await host.deploy("orders", f"1.0.{n}", TEXT)
        frame = host.monitor.frame(0, ALL)
        assert frame.figures[PAY].calls == 1
        assert frame.status.components[0].version == "1.0.2"


@pytest.mark.parametrize("name", ["", "listener:a:b", "listener:7", "flow:", "nothing:1"])
async def test_an_unknown_failure_is_not_found(shop, name):
    with pytest.raises(NotFoundError):
        await shop.discard(name)


async def test_a_view_of_a_host_that_began_again_sees_what_happened_last():
    store = MemoryStore()
    async with memory_host(store=store) as host:
        await host.deploy("notes", "1.0.0", QUIET)
        for _ in range(limits.RECENT + 10):
            await host.create("Note")
    async with memory_host(store=store) as host:
        seen = host.monitor.frame(0, ALL).events
        assert [line.seq for line in seen] == list(range(11, limits.RECENT + 11))
        await host.deploy("notes", "1.0.0", QUIET)
        await host.create("Note")
        assert host.monitor.frame(0, ALL).events[-1].seq == limits.RECENT + 11


async def test_events_are_the_newest_unless_a_place_in_the_journal_is_given():
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", QUIET)
        note = await host.create("Note")
        for _ in range(1200):
            note = await host.call(note, "star")
        assert [event.data["revision"] for event in await host.events(limit=2)] == [1200, 1201]
        assert [event.type for event in await host.events("note.created")] == ["note.created"]
        first = await host.events("note.*", after=0, limit=2)
        assert [event.type for event in first] == ["note.created", "note.starred"]
        assert len(await host.events(limit=1100)) == 1100


async def test_new_code_is_not_called_failing_for_what_the_old_did():
    broken = QUIET.replace("from aegis import Model, command", "from aegis import Model, on")
    broken = broken.partition("    @command")[0]
    broken += '\n@on("note.created")\nasync def hear() -> None:\n    raise KeyError("old")\n'
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", broken)
        await host.create("Note")
        await until(lambda: host.status().failed == 1)
        (notes,) = host.monitor.status().components
        assert (notes.health, "KeyError: 'old'" in notes.problem) == ("failing", True)
        await host.deploy("notes", "1.0.0", broken.replace('KeyError("old")', 'KeyError("new")'))
        (notes,) = host.monitor.status().components
        assert (notes.health, notes.problem) == ("ok", None)
        await host.create("Note")
        await until(lambda: host.status().failed == 2)
        (notes,) = host.monitor.status().components
        assert notes.health == "failing"


async def test_views_hear_at_once_at_which_step_an_undo_stopped(shop, desk):
    desk.replies |= {"ship": Refused("no van"), "unpack": OSError("glued")}
    await shop.create("Order", total="5")
    await quiet(shop)
    (flow,) = shop.monitor.frame(0, ALL).flows
    assert flow.state == "compensation failed"
    assert [(step.port, step.state) for step in flow.steps] == [
        ("pay", "done"),
        ("pack", "undo failed"),
        ("ship", "refused"),
    ]


async def test_the_log_says_that_a_flow_gave_up_and_where_in_its_code(shop, desk):
    async def lost(_):
        raise OSError("no road")

    desk.replies["ship"] = lost
    order = await shop.create("Order", total="5")
    await quiet(shop)
    log = shop.monitor.frame(0, ALL).log
    attempt, gave_up, flow = [line for line in log if order.id in line.text]
    assert "ship of" in attempt.text
    assert gave_up.text == f"orders.Order.ship of {order.id} gave up: OSError: no road"
    told = f"the flow of orders.Order {order.id} gave up, and is undone: ship: OSError: no road"
    assert (flow.level, flow.text, flow.more) == ("warning", told, False)
    for line in (attempt, gave_up):
        assert line.more
        lines = shop.monitor.traceback(line.n).splitlines()
        places = [text.strip() for text in lines if text.startswith("  File")]
        assert [place.rpartition(" in ")[2] for place in places] == ["ship", "do"]
        assert "return await self.say(what, order, idempotency_key())" in "".join(lines)
        assert lines[-1] == "OSError: no road"
    assert shop.monitor.traceback(flow.n) is None


async def test_a_flow_that_was_canceled_is_no_problem_of_anybody(shop, desk):
    desk.replies["pay"] = never
    order = await shop.create("Order", total="5")
    await until(lambda: desk.running)
    await shop.call(order, "cancel")
    await quiet(shop)
    frame = shop.monitor.frame(0, ALL)
    assert [flow.canceled for flow in frame.flows if flow.steps[0].port == "pay"] == [True]
    assert (frame.failed, frame.status.failed, frame.status.problems) == ((), 0, ())
    assert [component.health for component in frame.status.components] == ["ok"]
    said = [(line.level, line.text) for line in frame.log if order.id in line.text]
    assert said == [("info", f"the flow of orders.Order {order.id} was canceled, and is undone")]
