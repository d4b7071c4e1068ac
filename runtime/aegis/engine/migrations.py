"""Migrates records and open flows to new code: tried on a copy, then moved at a step boundary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from weakref import WeakSet

import msgspec

from aegis.core.audit import Action
from aegis.core.component import ModelSpec, Revision
from aegis.core.deployment import Deployment
from aegis.core.errors import ComponentError
from aegis.core.flow import FlowState
from aegis.core.migration import Migrated
from aegis.core.registry import Registry
from aegis.engine.auditing import audited
from aegis.engine.conversion import Conversion, Way
from aegis.engine.flows import Flows
from aegis.engine.ledger import Draft, Ledger
from aegis.engine.resident import Resident
from aegis.engine.undo import failure
from aegis.protocols import Clock, Commit, Store

FEW = 100  # records that may have changed since the copy was made when the boundary closes
ROUNDS = 5

_log = logging.getLogger("aegis.host")

# What is to be done when the new engine serves: then all that waited goes on.
Finish = Callable[[], Awaitable[None]]


class Migrations:
    """The migrations of one host. `residents` are all revisions of it that are loaded.

    `patience` is how long, in seconds, attempts and calls under way may take to end at the
    boundary; `backups` the directory that gets a copy of all data before, None for none.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ledger: Ledger,
        flows: Flows,
        *,
        patience: float,
        backups: str | None,
    ) -> None:
        self.residents: WeakSet[Resident] = WeakSet()
        self._store = store
        self._clock = clock
        self._ledger = ledger
        self._flows = flows
        self._patience = patience
        self._backups = backups
        self._late: set[asyncio.Task[None]] = set()

    def conversion(
        self,
        models: Iterable[str],
        revisions: Sequence[Revision],
        before: Registry,
        *,
        deployments: Mapping[str, int],
        back: bool = False,
    ) -> Conversion:
        """The copy on which `models` get the form of `revisions`.

        `deployments` has the number that what they were is kept under, by component.
        """
        ways = {}
        for revision in revisions:
            for spec in revision.models:
                if spec.key in models:
                    live = before.models.get(spec.key)
                    ways[spec.key] = Way(spec=spec, label=revision.label, live=live, back=back)
        keep = {key: deployments.get(way.spec.component, 0) for key, way in ways.items()}
        return Conversion(self._store, self._clock, ways, keep=keep)

    async def make(
        self,
        commit: Commit,
        conversion: Conversion,
        revisions: Sequence[Revision],
        boundary: AsyncExitStack,
        check: Callable[[], None],
        *,
        back: bool,
    ) -> Finish:
        """Store `commit` with all records and open flows in the form of `revisions`.

        The boundary stays closed, in `boundary`, until what this gives was called. `check` raises
        what speaks against it when nothing moves any more. Raises
        ComponentError naming the records that fail and what does not end; nothing has changed then.
        """
        moving = [
            revision
            for revision in revisions
            if any(spec.key in conversion.ways for spec in revision.models)
        ]
        names = [revision.name for revision in moving]
        await conversion.catch_up()
        _refuse(conversion, names[0])
        backup = await self._back_up(moving[0])
        for _ in range(ROUNDS):
            if await conversion.catch_up() <= FEW:
                break
        boundary.enter_context(self._flows.boundary.closed(names))
        await self._still(names)
        await boundary.enter_async_context(self._ledger.held())
        targets = [way.spec for way in conversion.ways.values()]
        older = self._others(targets)
        boundary.enter_context(self._flows.boundary.moving(names, older, targets))
        await conversion.catch_up()
        _refuse(conversion, names[0])
        check()
        draft = Draft(self._clock.stamp())
        draft.commit = commit
        conversion.fill(commit)
        migrated = {}
        for revision in moving:
            flows = self._flows.move(draft, revision.name, revision.version, revision.digest)
            await self._move_stopped(commit, revision)
            models = tuple(key for key in conversion.ways if key.startswith(f"{revision.name}."))
            migrated[revision.name] = Migrated(
                models=models,
                records=sum(one.after.model in models for one in commit.converted),
                flows=flows,
                backup=backup,
                back=back,
            )
        commit.deployments = [
            msgspec.structs.replace(one, migrated=migrated[one.component])
            if one.live and one.component in migrated
            else one
            for one in commit.deployments
        ]
        commit.audits += [
            audited(self._clock, Action.MIGRATE, of=one.source, detail=said(migrated[one.name]))
            for one in moving
        ]
        last = await self._ledger.convert(commit, draft)
        told = [one.event for one in commit.converted]
        for name, done in migrated.items():
            kept = "" if backup is None else f"; the data before is in {backup}"
            _log.info("%s: %s%s", name, said(done), kept)

        async def finish() -> None:
            self._flows.boundary.lift()
            await self._ledger.tell(told, last)
            await boundary.aclose()

        return finish

    async def _back_up(self, revision: Revision) -> str | None:
        """Copy all data aside; where to."""
        if self._backups is None:
            return None
        time = self._clock.stamp().replace(":", "").replace(".", "")
        target = f"{self._backups}/{revision.name}-{revision.version}-{time}"
        await self._store.backup(target, lambda _done, _of: None)
        return target

    async def _still(self, names: Collection[str]) -> None:
        """Return when nothing is in flight on any code of these components."""
        mine = [one for one in self.residents if one.revision.name in names]
        until = asyncio.get_running_loop().time() + self._patience
        while waits := [asyncio.create_task(one.drained()) for one in mine if one.calls]:
            left = until - asyncio.get_running_loop().time()
            _, late = await asyncio.wait(waits, timeout=max(0, left))
            # Cancelled they would end the waiting of others, who share it.
            self._late |= late
            for task in late:
                task.add_done_callback(self._late.discard)
            if late:
                break
        else:
            return
        busy = [
            f"flow {run.flow.id} (port {step.port} of {step.record})"
            for run in self._flows.runs()
            for step in run.steps.values()
            if step.n in run.attempting and step.model.partition(".")[0] in names
        ]
        some = ", ".join(busy[:5]) or "a call"
        raise ComponentError(
            next(iter(names)),
            [f"its records cannot be migrated while {some} goes on"],
            hint=f"it has not ended within {self._patience:g} s: wait for it, or cancel it",
        )

    def _others(self, targets: Sequence[ModelSpec]) -> Iterable[ModelSpec]:
        """What other loaded code takes the records of these models for."""
        keys = {spec.key for spec in targets}
        return [
            spec
            for resident in self.residents
            for spec in resident.revision.models
            if spec.key in keys and spec not in targets
        ]

    async def _move_stopped(self, commit: Commit, revision: Revision) -> None:
        """Move with `commit` the flows of which the undo stopped: it may go on some day."""
        for one in await self._store.failed():
            if one.kind != "flow":
                continue
            found = await self._store.flow(one.subscriber.removeprefix(failure("")))
            if found is None:
                continue
            flow = found[0]
            if flow.component == revision.name and flow.state is FlowState.COMPENSATION_FAILED:
                commit.flows.append(
                    msgspec.structs.replace(flow, version=revision.version, digest=revision.digest)
                )


def said(done: Migrated) -> str:
    """What a migration did, as people read it."""
    records = f"{done.records:,} record{'' if done.records == 1 else 's'}"
    flows = f" and {done.flows:,} open flow{'' if done.flows == 1 else 's'}" if done.flows else ""
    return f"{records}{flows} {'taken back' if done.back else 'migrated'}"


def numbers(deployments: Iterable[Deployment]) -> dict[str, int]:
    """The number of each component's deployment."""
    return {deployment.component: deployment.number for deployment in deployments}


def _refuse(conversion: Conversion, component: str) -> None:
    """Raise what keeps records from being migrated, with the component they are of."""
    problems = list(conversion.problems())
    if problems:
        raise ComponentError(
            component, problems, hint="nothing was changed; host.preview shows what it would do"
        )
