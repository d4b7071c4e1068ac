"""A kernel process for tests, and the component that most cells here deploy."""

import os
import re
import signal
import threading
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
            case "error":
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
