"""A kernel process for tests, and the component that most cells here deploy."""

import os
import queue
import re
import signal
import threading
import time
from pathlib import Path

from jupyter_client.manager import KernelManager

ORDERS = """\
%%component orders 1.0.0
from decimal import Decimal
from typing import Protocol
from aegis import Model, adapter, command, port

class Payments(Protocol):
    async def authorize(self, order_id: str, amount: Decimal) -> str: ...

class Order(Model, endpoint="orders"):
    total: Decimal
    authorization: str | None = None

    @port(consumes="order.created", produces="payment.authorized", timeout=5, retries=0)
    async def authorize(self, payments: Payments = adapter()) -> "Order":
        return self.update(authorization=await payments.authorize(self.id, self.total))

class CardPayments(Payments):
    async def authorize(self, order_id: str, amount: Decimal) -> str:
        return f"ok {amount}"

def greeting() -> str:
    return "first"
"""


class Reply:
    """What a cell came to: its text outputs, its error, the HTML it showed."""

    def __init__(self):
        self.status = ""
        self.stdout = ""
        self.stderr = ""
        self.result = ""
        self.html = ""
        self.traceback = ""

    def hear(self, message):
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                setattr(self, content["name"], getattr(self, content["name"]) + content["text"])
            case "execute_result" | "display_data":
                self.result += content["data"].get("text/plain", "")
                self.html += content["data"].get("text/html", "")
            case "status" if content["execution_state"] == "idle":
                self.status = self.status or "idle"
            case "error":
                self.status = "error"
                self.traceback += re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))


class Kernel:
    """A kernel process and a client of it."""

    def __init__(self, folder: Path, notebook="shop.ipynb", name="aegis", **env: str):
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(
            cwd=str(folder), env={**os.environ, "JPY_SESSION_NAME": str(folder / notebook), **env}
        )
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.begun: dict[str, Reply] = {}

    def begin(self, cell: str, cell_id: str | None = None) -> Reply:
        """Send a cell without waiting for it; `hear` what it comes to."""
        content = {"code": cell, "silent": False, "store_history": True, "allow_stdin": False}
        message = self.client.session.msg("execute_request", content)
        if cell_id is not None:
            message["metadata"]["cellId"] = cell_id
        self.client.shell_channel.send(message)
        reply = self.begun[message["header"]["msg_id"]] = Reply()
        return reply

    def hear(self, until, timeout: float = 20):
        """Take in what all cells that were begun show, until `until()`."""
        end = time.monotonic() + timeout
        while not until():
            assert time.monotonic() < end, {id: vars(reply) for id, reply in self.begun.items()}
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            # What belongs to no cell is kept under the empty name: there should be nothing.
            reply = self.begun.setdefault(message["parent_header"].get("msg_id", ""), Reply())
            reply.hear(message)

    def run(self, cell: str, timeout: float = 60) -> Reply:
        reply = Reply()
        answer = self.client.execute_interactive(
            cell, output_hook=reply.hear, timeout=timeout, allow_stdin=False
        )
        reply.status = answer["content"]["status"]
        return reply

    def interrupted(self, cell: str, after: float = 0.5) -> Reply:
        """Run `cell` and interrupt it."""
        # As the manager does; its own method would make an event loop in the timer's thread.
        pid = self.manager.provisioner.pid
        timer = threading.Timer(after, os.kill, (pid, signal.SIGINT))
        timer.start()
        try:
            return self.run(cell)
        finally:
            timer.join()

    def value(self, expression: str) -> str:
        reply = self.run(f"print({expression}, end='')")
        assert reply.status == "ok", reply.traceback
        return reply.stdout

    def restart(self):
        self.manager.restart_kernel()
        self.client.wait_for_ready(timeout=60)

    def close(self):
        if self.manager.has_kernel:
            self.client.stop_channels()
            self.manager.shutdown_kernel()
