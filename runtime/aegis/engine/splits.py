"""Tries a candidate of a component beside what is live: begins, weighs, promotes and drops it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aegis.core.audit import Action, Audit
from aegis.core.component import Revision, Source
from aegis.core.deployment import Deployment
from aegis.core.errors import ComponentError, ConflictError, InvalidError, NotFoundError
from aegis.core.split import RECORD, ArmStatus, Split, SplitStatus, problems
from aegis.core.split import check as check_terms
from aegis.engine.auditing import audited
from aegis.engine.context import CALLER
from aegis.engine.plan import Change, refuse_leaving
from aegis.engine.sealing import check_keys
from aegis.engine.tally import Tally
from aegis.protocols import Commit

if TYPE_CHECKING:
    from aegis.engine.deploys import Deploys


class Splits:
    """The splits of one host; they end with it."""

    def __init__(self, deploys: Deploys) -> None:
        self._deploys = deploys

    async def begin(self, source: Source, *, weight: float, by: str | None) -> SplitStatus:
        """Let a candidate serve a part of the calls beside what is live; see Host.split."""
        check_terms(weight, by or RECORD)
        async with self._deploys.changing:
            self._deploys.check_open()
            await self._deploys.check(source)
            live = self._deploys.live(source.name)
            under_way = self._deploys.engine.registry.splits.get(source.name)
            if under_way is not None and under_way.candidate.digest == source.digest:
                return await self._weighted(under_way, weight, by or under_way.by)
            self.check(source.name)
            if live.digest == source.digest:
                raise InvalidError(f"{live.label} is this very code, and serves already")
            candidate = await self._deploys.load(source)
            try:
                return await self._beside(live, candidate, weight, by or RECORD)
            except BaseException:
                if candidate not in self._deploys.engine.residents:
                    self._deploys.loader.unload(candidate)
                raise

    async def _beside(
        self, live: Revision, candidate: Revision, weight: float, by: str
    ) -> SplitStatus:
        before = self._deploys.engine.registry
        found = problems(live, candidate)
        if found:
            raise ComponentError(candidate.name, found)
        split = Split(component=live.name, candidate=candidate, weight=weight, by=by)
        planned = await self._deploys.planned(candidate)
        await check_keys(
            self._deploys.vault,
            self._deploys.store,
            [candidate],
            lambda m, q: self._deploys.page(m, q, {}),
        )
        lookup = self._deploys.lookup_in()
        resident = await self._deploys.stage(planned.registry, candidate, lookup)
        try:
            new = {model.key for model in candidate.models if model.name not in live.by_name}
            commit = Commit(
                sources=[replace(candidate.source, file="")],
                schemas=[schema for schema in planned.schemas if schema.model in new],
                cursors=list(planned.cursors),
                audits=[self._audited(Action.SPLIT, split)],
            )
            await self._deploys.store.commit(commit)
        except BaseException:
            await resident.close()
            raise
        # Each keeps what the other one writes and it does not know.
        apart = {key for key, doc in candidate.schemas.items() if live.schemas.get(key) != doc}
        old = self._deploys.engine.residents[live]
        resident.newer, old.newer = old.newer, old.newer | apart
        resident.caller = CALLER.get()
        resident.tally, old.tally = Tally(), Tally()
        residents = {**self._deploys.engine.residents, candidate: resident}
        await self._deploys.swap(before.splitting(split), residents)
        return self._told(split)

    async def weigh(self, name: str, weight: float, by: str | None = None) -> SplitStatus:
        """Let the candidate of a split have another part of the calls. Raises NotFoundError."""
        async with self._deploys.changing:
            split = self._split_of(name)
            return await self._weighted(split, weight, by or split.by)

    async def _weighted(self, split: Split, weight: float, by: str) -> SplitStatus:
        check_terms(weight, by)
        other = replace(split, weight=weight, by=by)
        await self._deploys.store.commit(Commit(audits=[self._audited(Action.SPLIT, other)]))
        await self._deploys.swap(
            self._deploys.engine.registry.splitting(other), self._deploys.engine.residents
        )
        return self._told(other)

    async def promote(self, name: str, *, who: str = "") -> Deployment:
        """Make the candidate of a split live, for all. Raises NotFoundError, ComponentError."""
        async with self._deploys.changing:
            self._deploys.check_open()
            candidate = self._split_of(name).candidate
            live, residents = self._deploys.live(name), self._deploys.engine.residents
            loaded = {candidate: residents[candidate]}
            (deployment,) = await self._deploys.install(
                [candidate], Change(), who=who, action=Action.PROMOTE, loaded=loaded
            )
            residents[candidate].tally = residents[live].tally = None
            return deployment

    async def drop(self, name: str) -> None:
        """End a split: what is live gets all again. Flows that the candidate began end on it.

        Raises NotFoundError, and ComponentError when open flows wait for what only it has.
        """
        async with self._deploys.changing:
            split = self._split_of(name)
            live, residents = self._deploys.live(name), self._deploys.engine.residents
            refuse_leaving(live, self._deploys.flows.runs(), self._deploys.locate)
            await self._deploys.store.commit(Commit(audits=[self._audited(Action.DROP, split)]))
            residents[split.candidate].tally = residents[live].tally = None
            await self._deploys.swap(self._deploys.engine.registry.unsplit(name), residents)

    def status(self) -> Sequence[SplitStatus]:
        """The components that are split, by name, with the figures of both sides."""
        splits = self._deploys.engine.registry.splits
        return [self._told(splits[name]) for name in sorted(splits)]

    @property
    def changed(self) -> int:
        """The monitor's number of the last call of any side."""
        registry, residents = self._deploys.engine.registry, self._deploys.engine.residents
        arms = ((split.candidate, registry.live[name]) for name, split in registry.splits.items())
        tallies = (residents[revision].tally for both in arms for revision in both)
        return max((tally.changed for tally in tallies if tally is not None), default=0)

    def _audited(self, action: Action, split: Split) -> Audit:
        return audited(
            self._deploys.clock,
            action,
            of=split.candidate.source,
            detail=f"{split.weight:g} % by {split.by}",
            fields={"weight": f"{split.weight:g}", "by": split.by},
        )

    def _told(self, split: Split) -> SplitStatus:
        live = self._deploys.live(split.component)
        return SplitStatus(
            component=split.component,
            by=split.by,
            live=self._arm(live, 100 - split.weight),
            candidate=self._arm(split.candidate, split.weight),
        )

    def _arm(self, revision: Revision, weight: float) -> ArmStatus:
        tally = self._deploys.engine.residents[revision].tally or Tally()
        return ArmStatus(
            version=revision.version,
            digest=revision.digest,
            origin=revision.source.origin,
            weight=weight,
            calls=tally.calls,
            errors=tally.errors,
            p50=tally.quantile(0.5),
            p99=tally.quantile(0.99),
            language=revision.source.language,
        )

    def _split_of(self, name: str) -> Split:
        self._deploys.live(name)
        split = self._deploys.engine.registry.splits.get(name)
        if split is None:
            raise NotFoundError(
                f"component {name!r} is not split", hint="begin one with split(source, weight=10)"
            )
        return split

    def check(self, name: str) -> None:
        """Raise ConflictError while a candidate of a component is tried."""
        split = self._deploys.engine.registry.splits.get(name)
        if split is not None:
            raise ConflictError(
                f"component {name!r} is split: {split.candidate.version} is tried beside "
                f"{self._deploys.live(name).version}",
                hint="promote the candidate or drop it first",
            )
