"""Gates that views have begun: each in a task of its own, told in frames, ended by a word."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

import msgspec

from aegis.core.component import Source
from aegis.core.errors import AegisError, ConflictError, GateError, NotFoundError
from aegis.core.rehearsal import Divergence, Gate, Rehearsal
from aegis.core.replay import told
from aegis.core.wire import Diverging, GateRun, Unlike
from aegis.engine.host import Host

# What a frame has room for.
SHOWN = 20  # of what differs or raises
ROWS = 5  # of one of these
SAID = 300  # characters of a value

_log = logging.getLogger("aegis.host")


class Rehearsals:
    """The gates of one host, on its loop, one at a time. `who` deploys what passes."""

    def __init__(self, host: Host, who: str) -> None:
        self._host = host
        self._who = who
        self._run: GateRun | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, source: Source, address: str, *, deploy: bool = False) -> None:
        """Try what was recorded on new code; with `deploy` it serves if it passes.

        Raises ConflictError while another gate is under way.
        """
        if self._task is not None and self._run is not None:
            raise ConflictError(
                f"the gate of {self._run.component} {self._run.version} is under way",
                hint="wait for it, or cancel it",
            )
        run = GateRun(
            component=source.name,
            version=source.version,
            digest=source.digest,
            source=address,
            state="running",
        )
        self._put(run)
        self._task = asyncio.create_task(self._try(source, deploy=deploy))
        self._task.add_done_callback(self._ended)

    def cancel(self, component: str) -> None:
        """End the gate of a component. Raises NotFoundError when none is under way."""
        if self._task is None or self._run is None or self._run.component != component:
            raise NotFoundError(
                f"no gate of {component[:80]!r} is under way", hint="it may have ended meanwhile"
            )
        self._task.cancel()

    def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()

    def _put(self, run: GateRun) -> None:
        self._run = run
        self._host.monitor.gate(run)

    def _change(self, **changed: Any) -> None:
        if self._run is not None:
            self._put(msgspec.structs.replace(self._run, **changed))

    def _told(self, done: int, total: int) -> None:
        self._change(done=done, total=total)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            self._change(state="canceled", text="it was canceled")

    async def _try(self, source: Source, *, deploy: bool) -> None:
        try:
            if not deploy:
                self._judged(await self._host.rehearse(source, told=self._told))
                return
            begin = functools.partial(self._host.deploy, source, who=self._who)
            await begin(gate=Gate(), told=self._told)
            text = f"the gate lets it through: {source.name} {source.version} serves now"
            self._change(state="done", text=text, passes=True, deployed=True)
        except GateError as error:
            self._judged(error.rehearsal)
        except AegisError as error:
            hint = "" if error.hint is None else f" ({error.hint})"
            self._change(state="failed", text=f"{error.detail}{hint}")
        except Exception as error:  # noqa: BLE001 -- whatever it was, who asked is told
            _log.exception("the gate of %s %s", source.name, source.version)
            self._change(state="failed", text=f"something broke: {type(error).__name__}")

    def _judged(self, found: Rehearsal) -> None:
        more = found.differ + found.raises - len(found.diverging[:SHOWN])
        self._change(
            state="done",
            text=found.figures(),
            passes=found.passes,
            diverging=tuple(_diverging(one) for one in found.diverging[:SHOWN]),
            notes=(*([f"and {more} more"] if more > 0 else []), *found.notes),
        )


def _diverging(one: Divergence) -> Diverging:
    return Diverging(
        id=one.id,
        kind=one.kind,
        what=one.name,
        verdict=one.verdict,
        error=None if one.error is None else one.error[:SAID],
        rows=tuple(
            Unlike(what=pair.name, then=_side(pair.then), now=_side(pair.now))
            for pair in one.differences[:ROWS]
        ),
    )


def _side(value: Any) -> str | None:
    return None if value is None else told(value)[:SAID]
