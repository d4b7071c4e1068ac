"""Views reach the host over comms whatever the cell does, and the cell never notices."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.kernel.process import ORDERS
from tests.kernel.view import OPEN, View, Wire

BURST = """\
%%component burst 1.0.0
from aegis import Model, command, emit

class Source(Model):
    @command
    def flood(self, count: int) -> "Source":
        for n in range(count):
            emit("drop.fell", n=n)
        return self

    @command
    def speak(self) -> "Source":
        print("said by a component")
        return self
"""


class Blocked:
    """A cell that runs until the block ends."""

    def __init__(self, wire, tmp_path, before="", after="print('the end')"):
        self.wire = wire
        self.gate = tmp_path / f"gate-{time.monotonic_ns()}"
        cell = f"import pathlib, time\n{before}\nprint('begun', flush=True)\n"
        cell += f"while not pathlib.Path({str(self.gate)!r}).exists(): time.sleep(0.01)\n{after}"
        self.message = wire.run(cell)

    def texts(self):
        said = self.wire.about(self.message)
        return "".join(m["content"]["text"] for m in said if m["msg_type"] == "stream")

    def states(self):
        said = self.wire.about(self.message)
        return [m["content"]["execution_state"] for m in said if m["msg_type"] == "status"]

    def __enter__(self):
        self.wire.until(lambda: "begun" in self.texts())
        return self

    def __exit__(self, *error):
        self.gate.touch()
        self.wire.until(lambda: "idle" in self.states())


@pytest.fixture(scope="module")
def shop(kernel):
    for cell in (ORDERS, BURST, "source = host.create('Source')"):
        reply = kernel.run(cell)
        assert reply.status == "ok", reply.traceback
    return kernel


@pytest.fixture
def wire(shop):
    """What is heard from now on; its views are closed at the end."""
    wire = Wire(shop.client)
    wire.pump(0.05)
    yield wire
    for view in wire.views:
        view.close()
    wire.pump(0.05)


def test_a_view_learns_where_the_host_is(wire, shop):
    view = View(wire).opened()
    wire.until(lambda: view.all("frame"))
    status = view.all("frame")[0]["status"]
    assert status["notebook"].endswith("shop.ipynb")
    assert status["address"] == shop.value("host.address")


def test_a_view_is_answered_while_a_cell_runs_and_the_cell_does_not_notice(wire, tmp_path):
    with Blocked(wire, tmp_path) as cell:
        view = View(wire).opened()
        for _ in range(5):
            assert view.done("picture")["data"]
        assert "the end" not in cell.texts()
        assert cell.states() == ["busy"]
    assert cell.texts() == "begun\nthe end\n"
    assert cell.states() == ["busy", "idle"]
    busy = [m for m in wire.heard if m["msg_type"] == "status"]
    assert {m["parent_header"]["msg_type"] for m in busy} == {"execute_request"}


def test_two_views_have_sessions_of_their_own(wire):
    one, other = View(wire).opened(), View(wire, OPEN | {"rights": ["view"]}).opened()
    assert one.all("hello")[0]["boot"] == other.all("hello")[0]["boot"]
    assert one.all("hello")[0]["capability"] != other.all("hello")[0]["capability"]
    assert one.done("picture") == other.done("picture")
    assert other.ask("resume")["problem"]["status"] == 403
    other.say(
        kind="ask", id=77, capability=one.all("hello")[0]["capability"], ask={"verb": "resume"}
    )
    wire.until(lambda: len(other.all("reply")) == 3)
    assert other.all("reply")[-1]["problem"]["status"] == 401
    assert not [reply for reply in one.all("reply") if reply["id"] == 77]


def test_a_comm_may_open_first_and_speak_later(wire):
    view = View(wire, {})
    wire.pump(0.1)
    assert view.said == []
    view.say(**OPEN)
    view.opened()


def test_a_newer_view_is_told_what_to_update(wire):
    view = View(wire, OPEN | {"protocol": 2})
    wire.until(lambda: view.said)
    assert view.said[0]["kind"] == "skew"
    assert "update aegis-kernel" in view.said[0]["text"]
    view.say(kind="telepathy")
    wire.until(lambda: len(view.said) == 2)
    view.say(**OPEN)
    view.opened()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"comm_id": 7, "data": {}},
        {"comm_id": "VIEW"},
        {"comm_id": "VIEW", "data": None},
        {"comm_id": "VIEW", "data": "text"},
        {"comm_id": "VIEW", "data": [1, 2]},
        {"comm_id": "VIEW", "data": {"kind": "ask", "id": [1]}},
        {"comm_id": "nobody", "data": OPEN},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("kind", ["comm_open", "comm_msg"])
def test_malformed_messages_break_nothing(wire, shop, kind, content):
    view = View(wire).opened()
    content = {k: view.comm if v == "VIEW" else v for k, v in content.items()}
    wire.send(kind, **content)
    assert view.done("resume")["text"]
    assert shop.value("1 + 1") == "2"


def test_a_message_that_is_not_signed_or_sent_twice_is_not_taken(wire):
    view = View(wire).opened()
    capability = view.all("hello")[0]["capability"]
    session, socket = wire.client.session, wire.client.shell_channel.socket
    ask = {"kind": "ask", "id": 50, "capability": capability, "ask": {"verb": "resume"}}
    message = session.msg("comm_msg", {"comm_id": view.comm, "data": ask})
    frames = session.serialize(message)
    forged = [*frames[:-1], frames[-1].replace(b"50", b"51")]
    for sent in (frames, frames, forged):
        socket.send_multipart(sent)
    assert view.done("resume")["text"]
    wire.pump(0.1)
    assert [reply["id"] for reply in view.all("reply")] == [50, 1]


def test_an_interrupt_stops_the_cell_and_no_view(wire, shop, tmp_path):
    view = View(wire).opened()
    with Blocked(wire, tmp_path) as cell:
        os.kill(shop.manager.provisioner.pid, 2)
        wire.until(lambda: "idle" in cell.states())
    assert [
        m["content"]["ename"] for m in wire.about(cell.message) if m["msg_type"] == "error"
    ] == ["KeyboardInterrupt"]
    assert view.done("resume")["text"]
    assert view.closed is None


def test_a_burst_of_100_000_events_queues_nothing(wire, shop):
    target = {"target": "command:burst.Source.flood", "record": shop.value("source.id")}
    pid = shop.manager.provisioner.pid

    def flood(view):
        """The frames in which a view hears of 100,000 events more."""
        seen, done = len(view.all("frame")), len(view.all("reply")) + 20
        for _ in range(20):
            view.begin("invoke", **target, arguments={"count": 5_000})
        wire.until(lambda: len(view.all("reply")) == done, seconds=120)
        assert [reply["problem"] for reply in view.all("reply")] == [None] * done
        wire.until(lambda: counted(view.all("frame")[seen:]) >= 100_000)
        return view.all("frame")[seen:]

    view = View(wire).opened()
    flood(view)  # after this one the kernel has all the memory that such a burst takes
    slow = View(wire, acks=False).opened()
    before, began = resident(pid), time.monotonic()
    frames = flood(view)
    assert len(frames) <= 10 * (time.monotonic() - began) + 1
    assert max(len(frame["events"]) for frame in frames) == 50
    assert {event["type"] for frame in frames for event in frame["events"]} <= {
        "drop.fell",
        "source.updated",
    }
    assert len(slow.all("frame")) == 1
    assert resident(pid) - before < 30e6
    slow.acks = True
    slow.say(kind="ack", cursor=slow.all("frame")[0]["cursor"])
    wire.until(lambda: len(slow.all("frame")) > 1)
    assert counted(slow.all("frame")[1:]) == counted(frames)


def resident(pid):
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counted(frames):
    return sum(len(frame["events"]) + frame["skipped"] for frame in frames)


def test_what_a_view_sets_off_prints_into_no_cell(wire, shop, tmp_path):
    id = shop.value("source.id")
    wire.pump(0.05)
    with Blocked(wire, tmp_path) as cell:
        view = View(wire).opened()
        view.done("invoke", target="command:burst.Source.speak", record=id)
        wire.pump(0.3)
    assert cell.texts() == "begun\nthe end\n"


def test_comms_of_others_go_their_usual_way(wire, shop):
    shop.run(
        "from comm import get_comm_manager\n"
        "get_comm_manager().register_target('echo', lambda comm, opening: "
        "comm.on_msg(lambda message: comm.send(message['content']['data'])))"
    )
    wire.send("comm_open", comm_id="e1", target_name="echo", data={})
    wire.send("comm_msg", comm_id="e1", data={"kind": "open"})
    wire.until(lambda: [m for m in wire.heard if m["msg_type"] == "comm_msg"])
    (echo,) = [m for m in wire.heard if m["msg_type"] == "comm_msg"]
    assert echo["content"]["data"] == {"kind": "open"}


# A widget of whatever kind, and what it hears of its own state.
WIDGET = """
import anywidget, traitlets

class Plain(anywidget.AnyWidget):
    _esm = "export default {}"
    size = traitlets.Int(0).tag(sync=True)

widget = Plain()
host._thread.comms.carry(widget)
"""


def test_a_widget_carries_a_session_in_its_custom_messages(wire, shop, tmp_path):
    assert shop.run(WIDGET).status == "ok"
    id = shop.value("widget.comm.comm_id")
    with Blocked(wire, tmp_path):
        view = View(wire, widget=id).opened()
        assert view.done("resume")["text"]
        assert len(view.all("reply")) == 1
    wire.send("comm_msg", comm_id=id, data={"method": "update", "state": {"size": 7}})
    assert shop.value("widget.size") == "7"
    open_sessions = "len(host._thread.comms._serving[1])"
    assert shop.value(open_sessions) == "1"
    assert shop.run("widget.close()").status == "ok"
    assert shop.value(open_sessions) == "0"


def test_whether_a_frontend_is_attached_is_known(wire, shop):
    attached = "get_ipython().kernel.comms.attached"
    assert shop.value(attached) == "False"
    view = View(wire).opened()
    assert shop.value(attached) == "True"
    view.close()
    assert shop.value(attached) == "False"
    assert shop.value("len(get_ipython().kernel.comms._serving[1])") == "0"


def test_another_data_directory_ends_sessions_and_the_next_host_begins_new_ones(
    start_kernel, tmp_path
):
    kernel = start_kernel(tmp_path)
    wire = Wire(kernel.client)
    view = View(wire).opened()
    moved = wire.run(f"%aegis data {tmp_path / 'other'}")
    wire.until(lambda: view.closed is not None)
    assert view.closed == {"reason": "the host was closed"}
    again = View(wire).opened()
    assert again.all("hello")[0]["boot"] != view.all("hello")[0]["boot"]
    wire.until(
        lambda: [m for m in wire.about(moved) if m["content"].get("execution_state") == "idle"]
    )


def test_where_no_host_runs_a_view_hears_why_and_gets_one_as_soon_as_there_is_one(
    start_kernel, tmp_path
):
    owner = start_kernel(tmp_path, AEGIS_DATA=str(tmp_path / "data"))
    assert owner.run("host").status == "ok"
    kernel = start_kernel(tmp_path, AEGIS_DATA=str(tmp_path / "data"))
    wire = Wire(kernel.client)
    view = View(wire)
    wire.until(lambda: view.said)
    (told,) = view.said
    assert (told["kind"], told["id"], told["problem"]["status"]) == ("reply", 0, 503)
    assert "no host is running" in told["problem"]["detail"]
    view.say(kind="ask", id=3, capability="", ask={"verb": "resume"})
    wire.until(lambda: len(view.said) == 2)
    assert view.said[1]["id"] == 3
    wire.run(f"%aegis data {tmp_path / 'mine'}")
    view.opened()
    assert view.done("resume")["text"]


def test_a_stock_kernel_has_sessions_too_whose_asks_wait_for_the_cell(start_kernel, tmp_path):
    kernel = start_kernel(tmp_path, name="python3")
    assert kernel.run("%load_ext aegis_kernel").status == "ok"
    assert kernel.run(BURST).status == "ok"
    assert kernel.run(WIDGET).status == "ok"
    id = kernel.value("widget.comm.comm_id")
    wire = Wire(kernel.client)
    view, widget = View(wire).opened(), View(wire, widget=id).opened()
    assert widget.done("picture") == view.done("picture")
    first = len(view.all("frame"))
    with Blocked(wire, tmp_path, before="host.create('Source')"):
        wire.until(lambda: any(frame["events"] for frame in view.all("frame")[first:]))
        view.begin("resume")
        wire.pump(0.3)
        assert len(view.all("reply")) == 1
    wire.until(lambda: len(view.all("reply")) == 2)
    wire.run("%unload_ext aegis_kernel")
    wire.until(lambda: view.closed == {"reason": "the host was closed"})
