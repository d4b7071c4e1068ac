"""A view's session: every message gets its answer, frames keep their pace, nothing is left behind."""

import asyncio
import base64
import itertools
import json
import zlib

import pytest

from aegis.adapters.graph.svg import render
from aegis.api import session as sessions_module
from aegis.api.session import Sessions
from aegis.core.errors import BusyError, ClosedError
from aegis.core.wire import PROTOCOL
from tests.engine.shop import until


class View:
    """The other end of a session: says what a test tells it to, and hears everything."""

    def __init__(self, sessions, *, rights=("view", "steer"), acks=True):
        self.heard = []
        self.ended = []
        self.acks = acks
        self.ids = 0
        self.loop = asyncio.get_running_loop()
        self.session = sessions.begin(self.hear, rights=rights, ended=self.ended.append)

    def hear(self, text):
        message = json.loads(text)
        self.heard.append({**message, "at": self.loop.time()})
        if self.acks and message["kind"] == "frame":
            self.loop.call_soon(self.ack)

    def say(self, **message):
        self.session.receive(json.dumps(message).encode())

    def ack(self):
        self.say(kind="ack", cursor=self.frames[-1]["cursor"])

    def open(self, **more):
        self.say(
            **{"kind": "open", "protocol": PROTOCOL, "version": "0", "rights": ["view", "steer"]}
            | more
        )
        return self

    def all(self, kind):
        return [message for message in self.heard if message["kind"] == kind]

    @property
    def frames(self):
        return self.all("frame")

    @property
    def capability(self):
        return self.all("hello")[-1]["capability"]

    def begin(self, verb, **fields):
        self.ids += 1
        ask = {"verb": verb, **fields}
        self.say(kind="ask", id=self.ids, capability=self.capability, ask=ask)
        return self.ids

    def replies(self, id):
        return [reply for reply in self.all("reply") if reply["id"] == id]

    async def ask(self, verb, **fields):
        """The only reply to an ask."""
        id = self.begin(verb, **fields)
        await until(lambda: self.replies(id))
        (reply,) = self.replies(id)
        return reply

    async def done(self, verb, **fields):
        reply = await self.ask(verb, **fields)
        assert reply["problem"] is None, reply["problem"]
        return reply["value"]

    async def problem(self, verb, **fields):
        reply = await self.ask(verb, **fields)
        assert reply["value"] is None
        return reply["problem"]


@pytest.fixture
def sessions(host):
    sessions = Sessions(host, render)
    yield sessions
    sessions.close("the test is over")


@pytest.fixture
async def view(sessions):
    view = View(sessions).open()
    await until(lambda: view.frames)
    return view


async def notes(host, count):
    for _ in range(count):
        await host.create("Note", text="x")


# --- opening --------------------------------------------------------------------------------------


async def test_a_view_hears_who_answers_and_at_once_all_there_is(host, sessions):
    view = View(sessions).open()
    await asyncio.sleep(0.02)
    hello, frame = view.heard[:2]
    assert hello["protocol"] == PROTOCOL
    assert hello["boot"] == host.monitor.boot
    assert hello["rights"] == ["view", "steer"]
    assert frame["reset"]
    assert [component["name"] for component in frame["status"]["components"]] == ["shop"]


async def test_a_session_has_the_rights_that_are_asked_for_and_granted(sessions):
    assert View(sessions, rights=["view"]).open().all("hello")[0]["rights"] == ["view"]
    assert View(sessions).open(rights=["view"]).all("hello")[0]["rights"] == ["view"]
    assert View(sessions).open(rights=[]).all("hello")[0]["rights"] == []


@pytest.mark.parametrize(
    ("protocol", "what"),
    [
        (PROTOCOL + 1, "update aegis-kernel"),
        (PROTOCOL - 1, "extension of Jupyter"),
        ("one", "update aegis-kernel"),
        (None, "update aegis-kernel"),
    ],
    ids=str,
)
async def test_another_protocol_is_told_what_to_update(sessions, protocol, what):
    view = View(sessions).open(protocol=protocol, topics=["of", "the", "future"], rights="all")
    await asyncio.sleep(0.02)
    (skew,) = view.heard
    assert skew["kind"] == "skew"
    assert skew["protocol"] == PROTOCOL
    assert what in skew["text"]
    view.open()
    assert view.all("hello")


async def test_a_message_of_an_unknown_kind_is_told_and_the_session_goes_on(view):
    view.say(kind="telepathy", thought=1)
    (skew,) = view.all("skew")
    assert "telepathy" in skew["text"]
    assert (await view.ask("resume"))["problem"] is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[1]",
        b"{",
        b"{}",
        b'"open"',
        b'{"kind": 7}',
        b'{"kind": "ack"}',
        b'{"kind": "ack", "cursor": "now"}',
        b'{"kind": "ask", "id": "one"}',
        b'{"kind": "open", "protocol": 1, "version": "0", "topics": ["weather"]}',
        b'{"kind": "open", "protocol": 1, "version": "0", "pattern": "("}',
        b'{"kind": "\xff"}',
        b'{"kind": "\\ud800"}',
        b'{"kind": ' + b"[" * 100_000,
        b'{"kind": "ack", "cursor": 1, "more": "' + b"x" * (1 << 20) + b'"}',
    ],
    ids=lambda text: text[:68].decode("latin1") or "nothing",
)
async def test_what_is_no_message_is_answered_and_forgotten(view, text):
    view.session.receive(text)
    (reply,) = view.replies(0)
    assert 400 <= reply["problem"]["status"] < 500
    assert len(reply["problem"]["detail"]) < 300
    assert (await view.ask("resume"))["problem"] is None


async def test_an_unknown_verb_is_answered_by_its_number(view):
    problem = await view.problem("dance")
    assert "dance" in problem["detail"]
    assert "update" in problem["hint"]


# --- who may --------------------------------------------------------------------------------------


async def test_nothing_is_answered_before_a_session_is_open(sessions):
    view = View(sessions)
    view.say(kind="ask", id=5, capability="", ask={"verb": "picture"})
    (reply,) = view.heard
    assert (reply["id"], reply["problem"]["status"]) == (5, 401)


async def test_an_ask_shows_the_capability_of_its_own_session(sessions, view):
    other = View(sessions).open()
    assert view.capability != other.capability
    for wrong in ("", "x", other.capability, view.capability + "x", "ü"):
        view.say(kind="ask", id=90, capability=wrong, ask={"verb": "resume"})
    assert [reply["problem"]["status"] for reply in view.replies(90)] == [401] * 5


async def test_opening_anew_makes_the_old_capability_worthless(view):
    old = view.capability
    view.open()
    view.say(kind="ask", id=90, capability=old, ask={"verb": "resume"})
    assert view.replies(90)[0]["problem"]["status"] == 401


async def test_who_may_only_view_does_not_steer(host, sessions):
    view = View(sessions).open(rights=["view"])
    for verb in ("retry", "discard", "rollback", "undeploy"):
        field = {"id": "x"} if verb in {"retry", "discard"} else {"component": "shop"}
        assert (await view.problem(verb, **field))["status"] == 403
    assert (await view.problem("invoke", target="x", record="x"))["status"] == 403
    assert (await view.done("picture"))["digest"] == host.graph().digest
    assert "shop" in host.engine.registry.live


# --- frames ---------------------------------------------------------------------------------------


async def test_the_next_frame_waits_for_the_ack_of_the_last(host, sessions):
    view = View(sessions, acks=False).open()
    await until(lambda: view.frames)
    await notes(host, 3)
    await asyncio.sleep(0.25)
    view.say(kind="ack", cursor=view.frames[0]["cursor"] - 1)  # not of this frame
    await asyncio.sleep(0.15)
    assert len(view.frames) == 1
    view.ack()
    await until(lambda: len(view.frames) == 2)
    assert [event["type"] for event in view.frames[1]["events"]] == ["note.created"] * 3
    assert view.frames[1]["since"] == view.frames[0]["cursor"]


async def test_a_frame_that_was_lost_is_made_up_for_when_the_view_says_where_it_is(
    host, sessions, monkeypatch
):
    view = View(sessions, acks=False).open()
    await until(lambda: view.frames)
    view.ack()
    await notes(host, 1)
    await until(lambda: len(view.frames) == 2)
    first = view.frames[0]["cursor"]
    view.say(kind="ack", cursor=first)
    await notes(host, 1)
    await asyncio.sleep(0.15)
    assert len(view.frames) == 2  # it may still be under way
    monkeypatch.setattr(sessions_module, "LOST", 0.1)
    view.say(kind="ack", cursor=first)
    await until(lambda: len(view.frames) == 3)
    assert view.frames[2]["since"] == first
    assert [event["seq"] for event in view.frames[2]["events"]] == [1, 2]
    await asyncio.sleep(0.15)
    view.say(kind="ack", cursor=0)
    await until(lambda: len(view.frames) == 4)
    assert view.frames[3]["reset"]
    view.ack()


async def test_a_frame_begins_where_the_last_one_ended_that_the_view_got(host, sessions):
    view = View(sessions).open(topics=["events"])
    await until(lambda: view.frames)
    for count in (2, 3):
        # A line of the log is nothing to this view.
        host.monitor.note("info", "test", "a word")
        await asyncio.sleep(0.15)
        await notes(host, 1)
        await until(lambda count=count: len(view.frames) >= count)
    for before, after in itertools.pairwise(view.frames):
        assert after["since"] == before["cursor"]


async def test_a_change_after_a_silence_is_told_at_once(host, view):
    await asyncio.sleep(0.15)
    before = len(view.frames)
    began = view.loop.time()
    await notes(host, 1)
    await until(lambda: len(view.frames) > before)
    assert view.frames[before]["at"] - began < 0.08


async def test_a_burst_comes_in_ten_frames_a_second_and_no_event_is_uncounted(host, view):
    seen = len(view.frames)
    began = view.loop.time()
    while view.loop.time() - began < 1.0:
        await notes(host, 50)
        await asyncio.sleep(0)
    last = host.store.last_seq()
    await until(lambda: view.frames[-1]["events"] and view.frames[-1]["events"][-1]["seq"] == last)
    frames = view.frames[seen:]
    gaps = [b["at"] - a["at"] for a, b in itertools.pairwise(frames)]
    assert min(gaps) > 0.095
    counted = sum(len(frame["events"]) + frame["skipped"] for frame in frames)
    assert last > 500  # else this was no burst
    assert counted == last
    assert max(len(frame["events"]) for frame in frames) == 50


@pytest.mark.parametrize("views", [1, 3])
async def test_large_frames_come_more_seldom_and_views_share_what_there_is(
    host, sessions, monkeypatch, views
):
    monkeypatch.setattr(sessions_module, "BYTES_A_SECOND", 4_000)
    view, *_others = [View(sessions).open() for _ in range(views)]
    await until(lambda: view.frames)
    size = len(json.dumps({**view.frames[0], "at": 0}, separators=(",", ":")))
    await notes(host, 1)
    await until(lambda: len(view.frames) > 1)
    gap = view.frames[1]["at"] - view.frames[0]["at"]
    assert gap > 0.1 + views * 0.9 * size / 4_000


async def test_a_view_gets_only_the_events_and_topics_that_it_asked_for(host, sessions):
    view = View(sessions).open(pattern="order.*", topics=["events"])
    await notes(host, 2)
    await host.create("Order", customer="ada", total="2")
    await until(lambda: any(frame["events"] for frame in view.frames))
    told = {event["type"] for frame in view.frames for event in frame["events"]}
    assert "order.created" in told
    assert all(type.startswith("order.") for type in told)
    assert all(frame["status"] is None for frame in view.frames)
    assert all(not frame["figures"] and not frame["flows"] for frame in view.frames)


async def test_a_view_goes_on_where_it_was(host, sessions, view):
    await notes(host, 2)
    await until(lambda: view.frames[-1]["events"])
    last = view.frames[-1]["cursor"]
    view.session.close()
    await notes(host, 1)
    again = View(sessions).open(boot=host.monitor.boot, cursor=last)
    await until(lambda: again.frames)
    assert not again.frames[0]["reset"]
    assert [event["seq"] for event in again.frames[0]["events"]] == [3]


@pytest.mark.parametrize("known", [{"boot": "another"}, {"cursor": 10**9}, {"cursor": -4}], ids=str)
async def test_a_cursor_of_nothing_known_begins_anew(host, sessions, known):
    await notes(host, 1)
    view = View(sessions).open(**{"boot": host.monitor.boot, "cursor": 1} | known)
    await until(lambda: view.frames)
    assert view.frames[0]["reset"]
    assert view.frames[0]["status"] is not None


async def test_two_views_have_a_pace_of_their_own(host, sessions, view):
    slow = View(sessions, acks=False).open()
    await notes(host, 1)
    await until(lambda: len(view.frames) > 1)
    await notes(host, 1)
    await until(lambda: len([f for f in view.frames if f["events"]]) == 2)
    assert len(slow.frames) == 1


# --- asks -----------------------------------------------------------------------------------------


async def test_the_picture_is_drawn_once_for_all(host):
    drawn = []

    def draw(graph):
        drawn.append(graph.digest)
        return render(graph)

    sessions = Sessions(host, draw)
    views = [View(sessions).open() for _ in range(3)]
    pictures = await asyncio.gather(*(view.done("picture") for view in views))
    assert pictures[0] == pictures[1] == pictures[2]
    assert drawn == [host.graph().digest] == [pictures[0]["digest"]]
    svg = zlib.decompress(base64.b64decode(pictures[0]["data"])).decode()
    assert svg == render(host.graph())
    sessions.close("done")


async def test_the_api_is_described_to_who_has_no_token(host, view):
    document = (await view.done("description"))["document"]
    assert document["openapi"].startswith("3.")
    assert any(path.endswith("/openapi.json") for path in document["paths"])


async def test_a_picture_that_cannot_be_drawn_says_so_and_may_be_asked_for_again(host, caplog):
    broken = [ZeroDivisionError("the secret")]

    def draw(graph):
        if broken:
            raise broken.pop()
        return "<svg/>"

    view = View(Sessions(host, draw)).open()
    problem = await view.problem("picture")
    assert problem["status"] == 500
    assert "secret" not in json.dumps(problem)
    assert problem["id"] in caplog.text
    assert (await view.done("picture"))["digest"]
    view.session.close()


async def test_a_host_that_draws_nothing_says_so(host):
    view = View(Sessions(host)).open()
    assert (await view.problem("picture"))["status"] == 404
    view.session.close()


async def test_events_and_flows_are_fetched_whole(host, view):
    order = await host.create("Order", customer="<b>ada</b>", total="2.50")
    flow = await host.wait(order, 5)
    detail = await view.done("flow", id=flow.id)
    assert detail["flow"]["state"] == "completed"
    assert detail["record"]["customer"] == "<b>ada</b>"
    assert detail["record"]["_meta"]["revision"] == 2
    types = [event["type"] for event in detail["events"]]
    assert types == ["order.created", "order.authorized"]
    event = await view.done("event", seq=detail["events"][0]["seq"])
    assert event["line"] == detail["events"][0]
    assert event["data"]["changed"]["customer"] == "<b>ada</b>"


async def test_a_flow_shows_its_record_while_there_is_one(host, view):
    order = await host.create("Order", customer="ada", total="2")
    flow = await host.wait(order, 5)
    await host.delete(await host.get("Order", order.id))
    assert (await view.done("flow", id=flow.id))["record"] is None


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        ("event", {"seq": 0}),
        ("event", {"seq": -5}),
        ("event", {"seq": 4}),
        ("event", {"seq": 2**62}),
        ("flow", {"id": "none"}),
        ("retry", {"id": "none"}),
        ("retry", {"id": "flow:none"}),
        ("discard", {"id": "listener:none:x"}),
        ("rollback", {"component": "none"}),
        ("undeploy", {"component": "none"}),
        ("invoke", {"target": "port:shop.Order.fly", "record": "x"}),
        ("invoke", {"target": "port:shop.Order.price", "record": "none"}),
        ("invoke", {"target": "model:shop.Order", "record": "x"}),
        ("invoke", {"target": "", "record": ""}),
    ],
    ids=str,
)
async def test_what_is_not_there_is_not_found(host, view, verb, fields):
    await notes(host, 2)
    assert (await view.problem(verb, **fields))["status"] == 404


async def test_what_failed_is_listed_tried_again_and_taken_off(host, view):
    order = await host.create("Order", customer="broke", total="10")
    first = await host.wait(order, 5)
    await until(lambda: view.frames[-1]["failed"])
    (failed,) = view.frames[-1]["failed"]
    assert failed["id"] == f"flow:{first.id}"
    assert "no money" in failed["error"]
    assert "tried again" in (await view.done("retry", id=failed["id"]))["text"]
    second = await host.wait(order, 5)
    assert second.id != first.id
    assert (await view.problem("retry", id="flow:none"))["status"] == 404
    await until(lambda: (view.frames[-1]["failed"] or [failed])[0]["id"] == f"flow:{second.id}")
    await view.done("discard", id=f"flow:{second.id}")
    await until(lambda: view.frames[-1]["failed"] == [])


async def test_ports_and_commands_are_invoked(host, view):
    order = await host.create("Order", customer="ada", total="10")
    await host.wait(order, 5)
    target = {"record": order.id, "target": "port:shop.Order.price"}
    done = await view.done("invoke", **target, arguments={"percent": 50})
    assert done["text"] == "price: the Order is at revision 3"
    await view.done("invoke", **target)
    assert str((await host.get("Order", order.id)).total) == "16.5"
    cancel = {"record": order.id, "target": "command:shop.Order.cancel"}
    await view.done("invoke", **cancel, arguments={"reason": "rain"})
    assert (await host.get("Order", order.id)).note == "rain"
    refused = await view.problem("invoke", **cancel, arguments={"reason": "rain"})
    assert (refused["status"], refused["detail"]) == (409, "it is canceled already")


async def test_arguments_are_checked_as_the_api_checks_them(host, view):
    order = await host.create("Order", customer="ada", total="10")
    await host.wait(order, 5)

    async def pointer(target, **arguments):
        target = {"record": order.id, "target": target}
        problem = await view.problem("invoke", **target, arguments=arguments)
        assert problem["status"] == 422
        return problem["pointer"]

    assert await pointer("port:shop.Order.price", percent="many") == "/percent"
    assert await pointer("port:shop.Order.price", percnet=1) == "/percnet"
    assert await pointer("command:shop.Order.cancel") == "/reason"
    assert await pointer("command:shop.Order.hurry", much=True) == "/much"


async def test_what_an_author_raises_keeps_its_words_inside(host, view, caplog):
    order = await host.create("Order", customer="ada", total="10")
    await host.wait(order, 5)
    problem = await view.problem("invoke", record=order.id, target="command:shop.Order.explode")
    assert problem["status"] == 502
    assert "tea" not in json.dumps(problem)
    assert "tea" in caplog.text


async def test_a_component_is_rolled_back_and_undeployed(host, view, shop_text):
    before = host.engine.registry.live["shop"].label
    await host.deploy("shop", "1.1.0", shop_text + "\n# newer\n")
    assert (await view.done("rollback", component="shop"))["text"] == "shop 1.0.0 serves again"
    assert host.engine.registry.live["shop"].label == before
    assert (await view.done("resume"))["text"] == "no flow waits for code"
    await view.done("undeploy", component="shop")
    assert not host.engine.registry.live


async def test_slow_asks_hold_up_nobody_and_are_limited(host, view, caplog):
    order = await host.create("Order", customer="ada", total="10")
    await host.wait(order, 5)
    stuck = await host.create("Order", customer="stuck", total="10")
    target = {"record": stuck.id, "target": "port:shop.Order.authorize"}
    slow = [view.begin("invoke", **target) for _ in range(sessions_module.ASKS - 1)]
    assert (await view.done("event", seq=1))["line"]["seq"] == 1
    slow.append(view.begin("invoke", **target))
    assert (await view.problem("event", seq=1))["status"] == 503
    assert [view.replies(id) for id in slow] == [[]] * len(slow)
    view.session.close()


# --- the end --------------------------------------------------------------------------------------


async def test_a_view_that_goes_leaves_nothing_but_what_it_had_begun_to_change(host, sessions):
    before = asyncio.all_tasks()
    order = await host.create("Order", customer="slow", total="10")
    view = View(sessions, acks=False).open()
    await until(lambda: view.frames)
    view.begin("picture")
    view.begin("invoke", record=order.id, target="command:shop.Order.hurry")
    view.session.close()
    heard = len(view.heard)
    view.session.close()
    view.open()
    view.session.receive(b"nonsense")
    await host.wait(order, 5)
    await until(lambda: asyncio.all_tasks() <= before)
    assert (await host.get("Order", order.id)).rush
    assert (len(view.heard), len(sessions), view.ended) == (heard, 0, [])


async def test_a_view_that_begins_anew_hears_at_once_that_its_asks_go_unanswered(host, view):
    order = await host.create("Order", customer="slow", total="10")
    id = view.begin("invoke", record=order.id, target="command:shop.Order.hurry")
    view.open()
    assert [message["kind"] for message in view.heard[-2:]] == ["reply", "hello"]
    await host.wait(order, 5)
    await until(lambda: host.engine.get(host.spec("Order"), order.id).revision == 3)
    await asyncio.sleep(0.02)
    (reply,) = view.replies(id)
    assert reply["problem"]["detail"] == "the view began anew"


async def test_a_host_that_closes_ends_its_sessions_and_says_why(sessions, view):
    sessions.close("the host was closed")
    assert view.ended == ["the host was closed"]
    with pytest.raises(ClosedError, match="the host was closed"):
        View(sessions)


async def test_there_is_room_for_so_many_views_and_for_new_ones_when_old_ones_stall(
    host, sessions, monkeypatch
):
    views = [View(sessions, acks=n != 7).open() for n in range(sessions_module.SESSIONS)]
    await until(lambda: all(view.frames for view in views))
    with pytest.raises(BusyError):
        View(sessions)
    monkeypatch.setattr(sessions_module, "STALLED", 0.001)
    await asyncio.sleep(0.01)
    View(sessions).open()
    assert views[7].ended == ["another view took the place"]
    assert [view for view in views if view.ended] == [views[7]]


async def test_frames_that_fail_end_the_session_with_a_word(host, view, caplog, monkeypatch):
    monkeypatch.setattr(type(host.monitor), "frame", None)
    await notes(host, 1)
    await until(lambda: view.ended)
    assert "log" in view.ended[0]
    assert "the frames of a view failed" in caplog.text
