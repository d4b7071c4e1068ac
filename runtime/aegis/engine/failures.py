"""What failed and can be tried again: events that a listener could not take, flows undone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aegis.core.errors import ConflictError, NotFoundError
from aegis.core.event import decode_event
from aegis.core.flow import OPEN_FLOWS, FlowState
from aegis.engine.undo import failure
from aegis.engine.work import Work
from aegis.protocols import Cleared

if TYPE_CHECKING:
    from aegis.engine.deploys import Deploys
    from aegis.engine.ledger import Draft

HINT = "the list of what failed has the ids: it may have been dealt with meanwhile"


class Failures:
    """The failed list's verbs. An id is that of a `FailedLine`, `listener:...` or `flow:...`."""

    def __init__(self, deploys: Deploys) -> None:
        self._deploys = deploys
        self._busy: set[str] = set()

    async def retry(self, id: str) -> str:
        """Try again what failed; what came of it, in one line.

        An event is given to its listener once more, then what it held up. The undo of a flow whose
        undo stopped goes on. A flow that was undone begins anew, as another flow of the same root
        event: the commit that begins it takes the old one off the list. An open flow that waits for
        code gets it loaded. Raises NotFoundError, and ConflictError for what cannot be tried now.
        """
        return await self._once(id, self._retry)

    async def discard(self, id: str) -> str:
        """Take something off the failed list for good. What an event held up is then delivered.

        Raises NotFoundError, and ConflictError for a flow that is open.
        """
        return await self._once(id, self._discard)

    async def _once(self, id: str, verb: Callable[[str], Awaitable[str]]) -> str:
        if id in self._busy:
            raise ConflictError(f"{id} is being dealt with", hint="wait for its end")
        self._busy.add(id)
        try:
            return await verb(id)
        finally:
            self._busy.discard(id)

    async def _retry(self, id: str) -> str:
        kind, _, rest = id.partition(":")
        if kind == "listener":
            return await self._deploys.broker.again(*_parked(id, rest))
        if kind == "answer":
            return await self._deploys.flows.answers.again(rest)
        if kind != "flow":
            raise NotFoundError(f"{id!r} names no failure", hint=HINT)
        flows = self._deploys.flows
        stored = await flows.ledger.store.flow(rest)
        if stored is None:
            raise NotFoundError(f"there is no flow {rest!r}", hint=HINT)
        flow, _ = stored
        if flow.state is FlowState.COMPENSATION_FAILED:
            await flows.undoing.resume(rest)
            return "its undo goes on"
        if flow.state in OPEN_FLOWS:
            resumed = await self._deploys.resume()
            return f"resumed {', '.join(resumed)}" if resumed else "it is under way"
        cleared = await self._failures_of(rest)
        entry = await flows.ledger.store.event(flow.root)
        if entry is None:
            raise NotFoundError(f"the event that began flow {rest!r} is not in the journal")
        began = await flows.again(flows.registry(), decode_event(entry.doc), cleared)
        return f"tried again as flow {began}"

    async def _discard(self, id: str) -> str:
        kind, _, rest = id.partition(":")
        if kind == "listener":
            return await self._deploys.broker.discard(*_parked(id, rest))
        if kind == "answer":
            return await self._deploys.flows.answers.discard(rest)
        if kind != "flow":
            raise NotFoundError(f"{id!r} names no failure", hint=HINT)
        flows = self._deploys.flows
        if flows.is_open(rest):
            raise ConflictError(f"flow {rest!r} is open", hint="wait for its end or cancel it")
        cleared = await self._failures_of(rest)

        def mark(draft: Draft) -> None:
            draft.commit.cleared += cleared

        work = Work(key=rest, label="host")
        await flows.ledger.settle(flows.registry(), work, locks=(rest,), mark=mark)
        return "discarded"

    async def _failures_of(self, flow: str) -> list[Cleared]:
        found = await self._deploys.flows.ledger.store.failed_of(failure(flow))
        if not found:
            raise NotFoundError(f"flow {flow!r} is not on the failed list", hint=HINT)
        return [Cleared(one.subscriber, one.seq) for one in found]


def _parked(id: str, rest: str) -> tuple[str, int]:
    """The listener and the event's number that an id names. Raises NotFoundError."""
    name, _, seq = rest.rpartition(":")
    if not name or not seq.isdecimal() or len(seq) > 18:
        raise NotFoundError(f"{id!r} names no failure", hint=HINT)
    return name, int(seq)
