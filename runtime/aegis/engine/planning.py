"""Works out what a change would come to, and changes nothing: its code is loaded and let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aegis.core.comparison import Comparison
from aegis.core.component import Revision, Source
from aegis.core.difference import IDS, Difference, OpenFlows
from aegis.core.errors import ComponentError, ConflictError
from aegis.core.migration import Migration, ModelMigration
from aegis.core.registry import Registry
from aegis.engine.plan import Change, Plan, sketch
from aegis.engine.resident import settings_of
from aegis.engine.run import Run

if TYPE_CHECKING:
    from aegis.engine.deploys import Deploys


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A change with its code loaded: `same` are the components that serve already.

    `problems` is all that would refuse it, `migrating` what becomes of stored records as of event
    `seq`, by model.
    """

    before: Registry
    revisions: Sequence[Revision]
    same: frozenset[str]
    plan: Plan
    problems: tuple[str, ...]
    migrating: tuple[ModelMigration, ...]
    seq: int


class Planning:
    """What changes of one host would come to."""

    def __init__(self, deploys: Deploys) -> None:
        self._deploys = deploys

    async def preview(self, source: Source) -> Migration:
        """What deploying `source` would make of stored records and open flows.

        Raises ComponentError when it cannot be loaded.
        """
        async with self._drawn(Change(sources=(source,)), again=True) as drawn:
            moving = self._runs(source.name) if drawn.migrating else []
            return Migration(
                component=source.name,
                version=source.version,
                seq=drawn.seq,
                models=drawn.migrating,
                flows=len(moving),
                problems=drawn.problems,
            )

    async def difference(self, change: Change) -> Difference:
        """What `change` would make different. Raises ComponentError for what cannot be loaded."""
        async with self._drawn(change) as drawn:
            names = {source.name for source in change.sources} | change.gone
            comparison = await asyncio.to_thread(
                Comparison, drawn.before, drawn.plan.registry, names
            )
            return Difference(
                standing=comparison.standing(drawn.same),
                items=comparison.items,
                breaks=comparison.breaks,
                problems=drawn.problems,
                migrations=tuple(self._migrations(drawn)),
                flows=tuple(self._flows(drawn)),
                graph=comparison.graph(),
                marks=comparison.marks(),
            )

    @asynccontextmanager
    async def _drawn(self, change: Change, *, again: bool = False) -> AsyncGenerator[Drawn]:
        """`change` with its code loaded; with `again` also what serves already."""
        deploys = self._deploys
        deploys.check_open()
        for name in change.gone:
            deploys.live(name)
        lookup = deploys.lookup_in(change.values)
        loaded: list[Revision] = []
        same: set[str] = set()
        try:
            for source in change.sources:
                if deploys.serves(source, lookup) and not again:
                    same.add(source.name)
                else:
                    loaded.append(await deploys.load(source))
            before = deploys.engine.registry
            homes = {key: lane.name for key, lane in deploys.elsewhere.places.items()}
            found = await sketch(
                before,
                loaded,
                change,
                store=deploys.store,
                count=lambda model: deploys.count(model, homes),
                away=deploys.elsewhere.places,
                now=deploys.clock.now(),
                runs=deploys.flows.runs(),
                locate=deploys.locate,
            )
            problems = [problem for some in found.problems.values() for problem in some]
            for revision in loaded:
                try:
                    deploys.splits.check(revision.name)
                    settings_of(revision, lookup)
                except ComponentError as error:
                    problems += error.problems
                except ConflictError as error:
                    problems.append(str(error))
            conversion = deploys.migrations.conversion(
                found.plan.migrating, loaded, before, deployments={}
            )
            models: tuple[ModelMigration, ...] = ()
            if loaded:
                with deploys.pinned(loaded[0].name):
                    await conversion.catch_up()
                    models = await asyncio.to_thread(lambda: tuple(conversion.described()))
            yield Drawn(
                before=before,
                revisions=loaded,
                same=frozenset(same),
                plan=found.plan,
                problems=tuple(problems),
                migrating=models,
                seq=conversion.seq,
            )
        finally:
            for revision in loaded:
                deploys.loader.unload(revision)

    def _runs(self, name: str) -> list[Run]:
        return [run for run in self._deploys.flows.runs() if run.flow.component == name]

    def _migrations(self, drawn: Drawn) -> Iterable[Migration]:
        for revision in drawn.revisions:
            models = tuple(m for m in drawn.migrating if m.model in revision.schemas)
            if models:
                yield Migration(
                    component=revision.name,
                    version=revision.version,
                    seq=drawn.seq,
                    models=models,
                    flows=len(self._runs(revision.name)),
                )

    def _flows(self, drawn: Drawn) -> Iterable[OpenFlows]:
        for revision in drawn.revisions:
            versions: dict[str, list[str]] = {}
            for run in self._runs(revision.name):
                versions.setdefault(run.flow.version, []).append(run.flow.id)
            moves = revision.name in drawn.plan.moving
            for version, ids in sorted(versions.items()):
                yield OpenFlows(
                    component=revision.name,
                    version=version,
                    flows=len(ids),
                    ids=tuple(sorted(ids)[:IDS]),
                    moves=moves or version == revision.version,
                )
