"""What sandboxes of components may do of the host, where that is granted, recorded for replays."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from aegis.core.errors import AegisError, GrantError, InvalidError, PortTimeoutError, RecordingError
from aegis.core.event import UNDO
from aegis.core.grant import HOST
from aegis.engine import keys
from aegis.engine.attempt import late
from aegis.engine.recorder import Answered, Raised, answered, plain, raised
from aegis.engine.script import error_of

if TYPE_CHECKING:
    from aegis.engine.engine import Engine
    from aegis.engine.ledger import Ledger
    from aegis.engine.work import Work

CHANCE = 64 << 10  # bytes of one draw

_NULL = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Asker:
    """A sandbox that asks: of which component, and in which unit of work.

    What a `step` asks itself is recorded, as what its adapters answer is; what these ask is not,
    for a replay does not run them.
    """

    component: str
    work: Work
    step: bool = True


class Powers:
    """What is granted, in one graph of components. In a replay all is as it was recorded."""

    def __init__(self, engine: Engine, ledger: Ledger) -> None:
        self._engine = engine
        self._ledger = ledger

    def check(self, component: str, what: str) -> None:
        """Raise GrantError unless a component may use something of the host, by what is so now."""
        grants = self._engine.now.grants
        if not grants.gives(component, HOST, what, "write"):
            taken = grants.takes(component, HOST, what, "write")
            why = "that right was taken from it" if taken else "nobody granted it"
            raise GrantError(
                f"{component} may not use {what} of the host: {why}",
                hint=f'host.grant("{component}", "{HOST}.{what}")',
                component=component,
                owner=HOST,
            )

    # At once, on any thread; in a replay on the host's loop only

    @property
    def is_replay(self) -> bool:
        """Whether what is asked may be answered from recordings."""
        return self._engine.script is not None

    def now(self, asker: Asker) -> int:
        """Milliseconds since 1970. Raises GrantError, RecordingError."""
        clock = self._ledger.clock
        text = self._at_once(
            asker, "clock", "clock.now", "", lambda: str(int(clock.now().timestamp() * 1000))
        )
        return int(text)

    def chance(self, asker: Asker, count: int) -> bytes:
        """So many random bytes. Raises GrantError, RecordingError, InvalidError for too many."""

        def draw() -> str:
            if count > CHANCE:
                raise InvalidError(f"{count:,} random bytes are asked for, and {CHANCE:,} are most")
            return secrets.token_hex(count)

        return bytes.fromhex(self._at_once(asker, "random", "random.bytes", str(count), draw))

    def _at_once(
        self, asker: Asker, right: str, what: str, said: str, make: Callable[[], str]
    ) -> str:
        if self._is_scripted(asker):
            return self._given(asker, self._recorded(asker, what, said))
        try:
            self.check(asker.component, right)
            found = make()
        except AegisError as error:
            self._failed(asker, what, said, error)
            raise
        self._kept(asker, what, said, found)
        return found

    # On the host's loop

    async def get(self, asker: Asker, key: str) -> str | None:
        """What the component keeps under a key, as the unit of work has set it or as it is stored.

        Raises GrantError, InvalidError, TooLargeError.
        """
        place = (asker.component, key)
        store, work = self._ledger.store, asker.work
        keys.check_key(key)
        if work.keeping is not None and place in work.keeping:
            self.check(asker.component, "keys")
            return work.keeping[place]

        async def ask() -> str:
            return _json(store.kept(*place))

        found: str | None = msgspec.json.decode(
            await self.ask(asker, "keys", "keys.get", key, ask), type=str | None
        )
        work.known = {**(work.known or {}), place: found}
        return found

    async def set(self, asker: Asker, key: str, value: str | None) -> None:
        """Keep a value under a key, or forget it, with what the unit of work commits.

        Raises GrantError, InvalidError, TooLargeError.
        """
        if not self._is_scripted(asker):
            self.check(asker.component, "keys")
        await keys.put(asker.work, self._ledger.store, asker.component, key, value)

    async def list(self, asker: Asker, prefix: str, limit: int) -> list[str]:
        """The first keys that begin with a text, with what the unit of work has set of them.

        Raises GrantError, TooLargeError.
        """
        keys.check_prefix(prefix)
        component, limit = asker.component, min(limit, keys.MOST)
        most = limit + len(asker.work.keeping or ())  # as many of them may be gone

        async def ask() -> str:
            return _json(await self._ledger.store.keys(component, prefix, most))

        said = await self.ask(asker, "keys", "keys.list", _json([prefix, most]), ask)
        stored = msgspec.json.decode(said, type=list[str])
        return keys.listed(asker.work, component, prefix, stored, limit)

    async def ask(
        self,
        asker: Asker,
        right: str,
        what: str,
        said: str,
        make: Callable[[], Awaitable[str]],
        *,
        outside: bool = False,
    ) -> str:
        """What `make` gives where the component has a right; recorded for a replay, in one as then.

        What is `outside` of the host is never asked in a replay. Raises GrantError, RecordingError,
        what `make` raises.
        """
        if self._is_scripted(asker):
            try:
                return self._given(asker, self._recorded(asker, what, said))
            except RecordingError:
                script = self._engine.script
                if script is not None:  # what asks must not go on with it, nor be attempted again
                    await script.hang()
                raise
        if outside and self.is_replay:
            raise RecordingError(f"{what} is not asked of anybody in a rehearsal")
        try:
            self.check(asker.component, right)
            found = await make()
        except BaseException as error:
            self._failed(asker, what, said, error)
            raise
        self._kept(asker, what, said, found)
        return found

    # What was recorded

    def _is_scripted(self, asker: Asker) -> bool:
        """Whether it was recorded what this one asks."""
        return self._engine.script is not None and asker.step and asker.work.step is not None

    def _recorded(self, asker: Asker, what: str, said: str) -> Answered:
        script = self._engine.script
        if script is None:
            raise RecordingError("nothing is recorded")
        call = Answered(HOST, what, [plain(said) or _NULL], {}, "returned", _NULL)
        return script.answered(asker.work, call, "asked for")

    def _given(self, asker: Asker, call: Answered) -> str:
        """What was given then. Raises what was raised then, RecordingError where that was cut."""
        if call.outcome == "returned":
            return msgspec.json.decode(bytes(call.value), type=str)
        if call.outcome == "raised":
            raise error_of(msgspec.json.decode(bytes(call.value), type=Raised))
        if call.outcome == "timeout":
            raise self._late(asker.work)
        raise RecordingError(f"{call.method} was cut before it answered")

    def _late(self, work: Work) -> PortTimeoutError:
        """What ended an attempt then that had asked for too long."""
        registry, name = self._engine.registry, (work.actor or "").rpartition(".")[2]
        spec = registry.models.get(work.model or "")
        port = None if spec is None else spec.port(name)
        said = None if port is None else port.policies
        if port is not None and work.origin == UNDO:
            said = port.undo_policies
        return late(name, 0.0 if said is None else said.over(registry.defaults).timeout)

    def _kept(self, asker: Asker, what: str, said: str, found: str) -> None:
        if asker.step:
            answered(HOST, what, (said,), {}, found, work=asker.work)

    def _failed(self, asker: Asker, what: str, said: str, error: BaseException) -> None:
        if asker.step:
            raised(HOST, what, (said,), {}, error, work=asker.work)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
