"""The Jupyter kernel: IPython's own, with a host beside it on a thread of its own."""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Bool, Float, Int, List, Unicode, default

import aegis
from aegis_kernel.comms import Comms
from aegis_kernel.hosting import HostThread
from aegis_kernel.notebook import Notebook

DRAIN_SECONDS = 10.0
# A tenth of Python's own: a busy cell then leaves the API ten times as many turns.
SWITCH_SECONDS = 0.0005


class AegisKernel(IPythonKernel):
    """IPython's kernel and a host of Aegis.

    Its traits are set in `ipython_kernel_config.py` (`c.AegisKernel.port = 8123`), on the command
    line (`--AegisKernel.port=8123`) or, where neither does, in the environment: AEGIS_PORT,
    AEGIS_DATA, AEGIS_EPHEMERAL, AEGIS_TOKEN, AEGIS_SWITCH_INTERVAL, AEGIS_DEBUG.
    """

    implementation = "aegis"
    implementation_version = aegis.__version__

    port = Int(help="Where the HTTP API listens on 127.0.0.1; 0 takes a free port.").tag(
        config=True
    )
    data_dir = Unicode(
        help="Where records and events are kept; by default .aegis/<notebook>/lab beside it."
    ).tag(config=True)
    ephemeral = Bool(help="Keep nothing on disk.").tag(config=True)
    token = Unicode(help="What the HTTP API wants to see; by default a new one each start.").tag(
        config=True
    )
    switch_interval = Float(
        SWITCH_SECONDS,
        help="Seconds a busy cell keeps the interpreter before the host gets its turn "
        "(sys.setswitchinterval); Python's own 0.005 makes cells a little faster, the API slower.",
    ).tag(config=True)
    debug_host = Bool(
        help="Let breakpoints in components stop; the API stops with them. `%aegis debug on` does "
        "so at run time."
    ).tag(config=True)
    _mistakes = List(Unicode())

    comms: Comms | None = None  # none yet when the first messages come

    # --- the environment ------------------------------------------------------------------------

    @default("switch_interval")
    def _switch_interval_said(self) -> float:
        text = os.environ.get("AEGIS_SWITCH_INTERVAL", "")
        try:
            said = float(text or SWITCH_SECONDS)
        except ValueError:
            said = 0.0
        if not 0 < said < math.inf:
            self._mistakes.append(f"AEGIS_SWITCH_INTERVAL is {text!r}: write seconds, as 0.0005")
            return SWITCH_SECONDS
        return said

    @default("debug_host")
    def _debug_host_said(self) -> bool:
        return os.environ.get("AEGIS_DEBUG", "").lower() in {"1", "true", "yes"}

    @default("_mistakes")
    def _no_mistakes(self) -> list[str]:
        return []

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the kernel and its host; cells run even if the host cannot start."""
        super().start()  # type: ignore[no-untyped-call]
        if self.switch_interval > 0:
            sys.setswitchinterval(self.switch_interval)
        assert self.shell is not None  # noqa: S101 -- ipykernel made it in __init__
        self.notebook = Notebook(self.shell, HostThread(debug=self.debug_host))
        self.comms = Comms(self, self.notebook.thread)
        self.notebook.attach()
        for mistake in self._mistakes:
            self.notebook.tell(mistake)
        self.notebook.start(
            port=self.port, data=self.data_dir, ephemeral=self.ephemeral, token=self.token
        )
        gc.enable()  # see __main__

    async def do_shutdown(  # pyright: ignore[reportIncompatibleMethodOverride] -- it is awaited
        self,
        restart: bool,  # noqa: FBT001 -- ipykernel's own
    ) -> dict[str, Any]:
        """Drain the host before the kernel ends, for a restart too."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.notebook.thread.close, DRAIN_SECONDS)
        reply = super().do_shutdown(restart)  # type: ignore[no-untyped-call]
        found: dict[str, Any] = await reply if inspect.isawaitable(reply) else reply
        return found

    @property
    def banner(self) -> str:  # type: ignore[override]
        """IPython's banner, and where the API answers."""
        return f"Aegis {aegis.__version__}: {self.notebook.where()}\n{super().banner}"

    # --- comms ----------------------------------------------------------------------------------

    async def shell_channel_thread_main(self, msg: list[Any]) -> None:
        """Let the comms of views through to the host, whatever the cell does."""
        if self.comms is None or not self.comms.divert(msg):
            await super().shell_channel_thread_main(msg)  # type: ignore[no-untyped-call]

    # --- interrupts -----------------------------------------------------------------------------

    @contextmanager
    def _cancel_on_sigint(self, future: asyncio.Future[Any]) -> Generator[None, None, None]:
        """Cancel a cell that awaits when it is interrupted.

        ipykernel's own asks the loop from within its thread, which does not wake a loop that
        sleeps (ipykernel#881). Where the cell computes instead of awaiting, cancelling would wait
        for its next await, so it gets the KeyboardInterrupt that a cell without await gets.
        """
        loop = asyncio.get_running_loop()

        def interrupt(number: int, frame: FrameType | None) -> None:
            while frame is not None:
                if frame.f_code is InteractiveShell.run_code.__code__:
                    signal.default_int_handler(number, frame)
                frame = frame.f_back
            loop.call_soon_threadsafe(future.cancel)

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
