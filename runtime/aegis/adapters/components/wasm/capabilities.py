"""What guests of one component ask of the host beyond adapters: keys, the time, chance and HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from aegis.adapters.components.wasm.outbound import Outbound, Request
from aegis.core.errors import AegisError, InvalidError, NotFoundError
from aegis.engine.context import current
from aegis.engine.powers import Asker, Powers
from aegis.engine.work import Work

# What is answered on the guest's own thread: it takes no time.
AT_ONCE = frozenset({"clock.now", "random.bytes"})

AtOnce = Callable[[str, tuple[Any, ...]], str]


class Capabilities:
    """Answers for `component`, each as text: what is granted is decided when it is asked for."""

    def __init__(self, component: str, outbound: Outbound | None) -> None:
        self._component = component
        self._outbound = outbound

    def at_once(self, work: Work | None, *, step: bool, inline: bool) -> AtOnce | None:
        """What answers `AT_ONCE` on any thread, None where only the host's loop may know.

        `step` says that it is the code of the step itself that asks. Raises AegisError when called
        outside of a unit of work.
        """
        if work is not None and work.reach is not None and work.reach.powers.is_replay:
            return self._at_once(work, step=step) if inline else None
        return self._at_once(work, step=step)

    def _at_once(self, work: Work | None, *, step: bool) -> AtOnce:
        def answer(what: str, arguments: tuple[Any, ...]) -> str:
            powers, asker = self._asker(what, work, step=step)
            if what == "clock.now":
                return str(powers.now(asker))
            return powers.chance(asker, *arguments).hex()

        return answer

    async def answer(self, what: str, arguments: tuple[Any, ...], *, step: bool) -> str:
        """Answer on the host's loop, in the unit of work under way.

        Raises GrantError, InvalidError and TooLargeError for what is wrong with a question,
        PortError for a partner that does not answer.
        """
        powers, asker = self._asker(what, current(what), step=step)
        if what in AT_ONCE:
            return self._at_once(asker.work, step=step)(what, arguments)
        if what == "keys.get":
            return _json(await powers.get(asker, *arguments))
        if what == "keys.set":
            await powers.set(asker, *arguments)
            return ""
        if what == "keys.list":
            return _json(await powers.list(asker, *arguments))
        if what == "http.fetch" and self._outbound is not None:
            return await self._fetch(self._outbound, powers, asker, *arguments)
        raise NotFoundError(f"{what} is not there")

    async def _fetch(self, outbound: Outbound, powers: Powers, asker: Asker, text: str) -> str:
        try:
            request = msgspec.json.decode(text, type=Request)
        except msgspec.DecodeError as error:
            raise InvalidError(f"http: this is no request: {error}") from None
        origin = outbound.origin(request)

        async def ask() -> str:
            return _json(await outbound.fetch(request))

        return await powers.ask(asker, f"http={origin}", "http.fetch", text, ask, outside=True)

    def _asker(self, what: str, work: Work | None, *, step: bool) -> tuple[Powers, Asker]:
        if work is None or work.reach is None:
            raise AegisError(f"{what} works inside a port, command or listener that a host runs")
        return work.reach.powers, Asker(self._component, work, step)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
