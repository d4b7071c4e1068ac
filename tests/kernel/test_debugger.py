"""The debugger, as a frontend drives it: breakpoints in cells, in components, and what serves on."""

import itertools
import queue
import time
import urllib.request

import pytest

from tests.kernel.process import Kernel

SLOW = """\
%%component slow 1.0.0
from aegis import Model, command

class Slow(Model, endpoint="slows"):
    n: int = 0

    @command
    def count(self) -> "Slow":
        twice = self.n * 2
        return self.update(n=twice + 1)
"""


class Debugger:
    """A session over the control channel, as JupyterLab's debugger has it."""

    def __init__(self, kernel):
        self.client = kernel.client
        self._numbers = itertools.count(1)

    def ask(self, command, **arguments):
        content = {
            "type": "request",
            "seq": next(self._numbers),
            "command": command,
            "arguments": arguments,
        }
        message = self.client.session.msg("debug_request", content)
        self.client.control_channel.send(message)
        while True:
            answer = self.client.get_control_msg(timeout=30)
            if answer["parent_header"]["msg_id"] == message["header"]["msg_id"]:
                return answer["content"]

    def begin(self):
        assert self.ask("debugInfo")["body"]["hashMethod"] == "Murmur2"
        self.ask(
            "initialize",
            clientID="test",
            adapterID="",
            pathFormat="path",
            linesStartAt1=True,
            columnsStartAt1=True,
            supportsVariableType=True,
        )
        self.ask("attach")

    def stop_at(self, cell, line):
        """Set a breakpoint in a cell, as it will run."""
        path = self.ask("dumpCell", code=cell)["body"]["sourcePath"]
        answer = self.ask(
            "setBreakpoints",
            breakpoints=[{"line": line}],
            source={"path": path},
            sourceModified=False,
        )
        assert answer["success"], answer
        self.ask("configurationDone")
        return path

    def stopped(self, timeout=20):
        """The thread that has stopped at a breakpoint, and its top frame; None after `timeout`."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            if message["msg_type"] == "debug_event" and message["content"]["event"] == "stopped":
                thread = message["content"]["body"]["threadId"]
                frames = self.ask("stackTrace", threadId=thread)["body"]["stackFrames"]
                return thread, frames[0]
        return None

    def clear(self, path):
        self.ask("setBreakpoints", breakpoints=[], source={"path": path}, sourceModified=False)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    kernel = Kernel(tmp_path_factory.mktemp("notebooks"))
    yield kernel
    kernel.close()


@pytest.fixture(scope="module")
def debugger(kernel):
    debugger = Debugger(kernel)
    debugger.begin()
    return debugger


def finish(kernel, reply_to):
    while kernel.client.get_shell_msg(timeout=30)["parent_header"].get("msg_id") != reply_to:
        pass


def seconds(url) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.status == 200
    return time.perf_counter() - began


def test_the_api_answers_while_a_cell_stands_at_a_breakpoint(kernel, debugger):
    assert kernel.run(SLOW).status == "ok"
    kernel.run("for n in range(3): host.create(Slow, n=n)")
    urls = [kernel.value(f"host.url('{path}')") for path in ("/healthz", "/aegis/api/models/slows")]
    cell = "one = 1\ntwo = one + 1\nthree = two + 1"
    path = debugger.stop_at(cell, 2)
    running = kernel.client.execute(cell, allow_stdin=False)
    thread, frame = debugger.stopped()
    assert frame["source"]["path"] == path
    assert frame["line"] == 2
    for url in urls:  # the second one is read by a thread of the store
        assert sorted(seconds(url) for _ in range(9))[4] < 0.1
    debugger.clear(path)
    debugger.ask("continue", threadId=thread)
    finish(kernel, running)
    assert kernel.value("three") == "3"


def test_a_breakpoint_in_a_component_stops_only_when_that_is_wanted(kernel, debugger):
    assert kernel.run(SLOW).status == "ok"
    kernel.run("slow = host.create(Slow, n=4)")
    path = debugger.stop_at(SLOW, 9)
    assert kernel.value("host.call(slow, 'count').n") == "9"  # passed by
    kernel.run("%aegis debug on")
    running = kernel.client.execute("slow = host.call(slow, 'count')", allow_stdin=False)
    thread, frame = debugger.stopped()
    assert frame["source"]["path"] == path
    assert frame["line"] == 9
    assert frame["name"].endswith("count")
    scopes = debugger.ask("scopes", frameId=frame["id"])["body"]["scopes"]
    found = debugger.ask("variables", variablesReference=scopes[0]["variablesReference"])
    assert "self" in {variable["name"] for variable in found["body"]["variables"]}
    debugger.ask("continue", threadId=thread)
    finish(kernel, running)
    assert kernel.value("slow.n") == "19"
    kernel.run("%aegis debug off")
    assert kernel.value("host.call(slow, 'count').n") == "39"
    debugger.clear(path)


def test_a_kernel_can_begin_with_breakpoints_in_components(tmp_path):
    kernel = Kernel(tmp_path, AEGIS_EPHEMERAL="1", AEGIS_DEBUG="1")
    try:
        debugger = Debugger(kernel)
        debugger.begin()
        path = debugger.stop_at(SLOW, 9)
        assert kernel.run(SLOW).status == "ok"
        kernel.run("slow = host.create(Slow, n=1)")
        running = kernel.client.execute("slow = host.call(slow, 'count')", allow_stdin=False)
        thread, frame = debugger.stopped()
        assert (frame["source"]["path"], frame["line"]) == (path, 9)
        debugger.ask("continue", threadId=thread)
        finish(kernel, running)
        assert kernel.value("slow.n") == "3"
    finally:
        kernel.close()
