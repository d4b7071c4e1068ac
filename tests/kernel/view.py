"""A view at the other end of a comm, as a client of a kernel, for tests and measurements."""

import itertools
import queue
import time

OPEN = {"kind": "open", "protocol": 1, "version": "0", "rights": ["view", "steer"]}


class Wire:
    """All that a client of a kernel hears on IOPub, sorted by what it belongs to."""

    def __init__(self, client):
        self.client = client
        self.heard = []
        self.views = []

    def send(self, kind, **content):
        message = self.client.session.msg(kind, content)
        self.client.shell_channel.send(message)
        return message

    def run(self, code):
        """Begin a cell."""
        how = {"silent": False, "store_history": False, "allow_stdin": False}
        return self.send("execute_request", code=code, **how)

    def pump(self, seconds=0.0):
        """Hear what there is, for so long."""
        end = time.monotonic() + seconds
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(end - time.monotonic(), 0.005))
            except queue.Empty:
                return
            self.take(message)

    def take(self, message):
        self.heard.append(message | {"at": time.monotonic()})
        for view in self.views:
            view.hear(self.heard[-1])

    def until(self, true, seconds=20.0):
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not happen"
            self.pump(0.02)

    def about(self, message):
        """What the kernel said because of a message, but for comms."""
        id = message["header"]["msg_id"]
        return [m for m in self.heard if m["parent_header"].get("msg_id") == id]


class View:
    """A view at the other end of a comm, or of a widget's custom messages."""

    ids = itertools.count(1)

    def __init__(self, wire, opening=OPEN, *, widget=None, acks=True):
        self.wire = wire
        self.widget = widget
        self.acks = acks
        self.comm = widget or f"view-{next(self.ids)}"
        self.said = []
        self.closed = None
        self.asks = 0
        wire.views.append(self)
        if widget is None:
            wire.send("comm_open", comm_id=self.comm, target_name="aegis.session", data=opening)
        elif opening:
            self.say(**opening)

    def hear(self, message):
        content = message["content"]
        if content.get("comm_id") != self.comm:
            return
        if message["msg_type"] == "comm_close":
            self.closed = content["data"]
        if message["msg_type"] != "comm_msg":
            return
        data = content["data"]
        if self.widget is not None:
            if data.get("method") != "custom":
                return
            data = data["content"]
        self.said.append(data | {"at": message["at"]})
        if self.acks and data["kind"] == "frame":
            self.say(kind="ack", cursor=data["cursor"])

    def say(self, **message):
        data = message if self.widget is None else {"method": "custom", "content": message}
        return self.wire.send("comm_msg", comm_id=self.comm, data=data)

    def all(self, kind):
        return [message for message in self.said if message["kind"] == kind]

    def opened(self):
        self.wire.until(lambda: self.all("hello") and self.all("frame"))
        return self

    def begin(self, verb, **fields):
        self.asks += 1
        capability = self.all("hello")[-1]["capability"]
        ask = {"verb": verb, **fields}
        self.last = self.say(kind="ask", id=self.asks, capability=capability, ask=ask)
        return self.asks

    def ask(self, verb, **fields):
        id = self.begin(verb, **fields)
        self.wire.until(lambda: [r for r in self.all("reply") if r["id"] == id])
        (reply,) = [r for r in self.all("reply") if r["id"] == id]
        return reply

    def done(self, verb, **fields):
        reply = self.ask(verb, **fields)
        assert reply["problem"] is None, reply["problem"]
        return reply["value"]

    def close(self):
        self.wire.send("comm_close", comm_id=self.comm, data={})
