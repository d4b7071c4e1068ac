"""What a deploy would make different, as a value: the plan that people, programs and views read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from aegis.core.graph import Graph
from aegis.core.migration import Migration

How = Literal["added", "changed", "removed"]
Kind = Literal[
    "component",
    "model",
    "field",
    "relation",
    "port",
    "command",
    "event",
    "listener",
    "adapter",
    "service",
    "binding",
    "library",
    "route",
    "grant",
    "export",
]
SIGNS: Mapping[str, str] = {"added": "+", "changed": "~", "removed": "-"}
IDS = 5  # of open flows that are named
MANY = 4  # routes of one endpoint that are told one by one


class Aspect(msgspec.Struct, frozen=True):
    """One property of a thing that is there before and after; None where it had none, or has."""

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return self.name if self.before == self.after else f"{self.name}: {self._one()}"
        return f"{self.name}: {self.before} -> {self.after}"

    def _one(self) -> str:
        return f"now {self.after}" if self.before is None else f"no more {self.before}"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A thing that is added, changed or removed.

    `name` is its full one (`orders.Order.pick`, `POST /aegis/api/models/orders`, `order.picked`),
    `node` its id in the graph if it has a node of its own. `aspects` say in which ways something
    that stays is another; `detail` is one line for people.
    """

    kind: Kind
    name: str
    how: How
    component: str
    node: str | None = None
    detail: str = ""
    aspects: tuple[Aspect, ...] = ()

    def __str__(self) -> str:
        said = "; ".join(str(aspect) for aspect in self.aspects) or self.detail
        return f"{self.kind} {self.name}" + (f" ({said})" if said else "")


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """Something that others may rely on and that is gone, or asks more of them than it did."""

    component: str
    text: str
    node: str | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A component before and after, by version and digest; None where it does not serve.

    `how` is "same" where this very code serves already with this configuration: nothing is done.
    `needs` is the version that semver asks for, where the one given promises too much.
    """

    component: str
    how: Literal["added", "changed", "removed", "same"]
    before: str | None = None
    after: str | None = None
    before_digest: str | None = None
    after_digest: str | None = None
    needs: str | None = None

    def __str__(self) -> str:
        if self.how == "same":
            return f"{self.component} {self.after} (this very code serves already)"
        if self.how == "added":
            return f"{self.component} {self.after}"
        if self.how == "removed":
            return f"{self.component} {self.before}"
        if self.before == self.after:
            return f"{self.component} {self.after} (other code under the same version)"
        return f"{self.component} {self.before} -> {self.after}"


class OpenFlows(msgspec.Struct, frozen=True, kw_only=True):
    """Flows under way on one version number, and whether their next step is on the new code."""

    component: str
    version: str
    flows: int
    ids: tuple[str, ...]
    moves: bool

    def __str__(self) -> str:
        flows = f"{self.flows} open flow{'' if self.flows == 1 else 's'}"
        where = f"{self.component} {self.version}"
        if self.moves:
            return f"{flows} of {where} go on with the new code"
        return f"{flows} of {where} end on the code they began on"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy would make different; `str()` says it in words. Nothing has changed yet.

    `breaks` are the breaking changes, `problems` what would refuse the deploy as things stand.
    `migrations` say what becomes of stored records. `graph` has all nodes and edges of before and
    after, `marks` those of them, by id, that are not in both or not the same.
    """

    standing: tuple[Standing, ...] = ()
    items: tuple[Item, ...] = ()
    breaks: tuple[Break, ...] = ()
    problems: tuple[str, ...] = ()
    migrations: tuple[Migration, ...] = ()
    flows: tuple[OpenFlows, ...] = ()
    graph: Graph = Graph()
    marks: Mapping[str, How] = {}

    @property
    def fits(self) -> bool:
        """Whether the deploy would be taken, as things stood."""
        return not self.problems and all(one.fits for one in self.migrations)

    @property
    def is_nothing(self) -> bool:
        """Whether nothing would be done: everything serves already."""
        return not self.problems and all(one.how == "same" for one in self.standing)

    def lines(self) -> Iterator[tuple[str, str]]:
        """It in words, the gravest first: a sign (`!`, `x`, `+`, `~`, `-`, `=` or none), a line."""
        for one in self.standing:
            yield "=" if one.how == "same" else SIGNS[one.how], str(one)
        for problem in self.problems:
            yield "x", f"refused: {problem}"
        for broken in self.breaks:
            yield "!", f"breaking: {broken.text}"
        for one in self.standing:
            if one.needs is not None:
                told = f"{one.after} after {one.before}"
                yield "!", f"{told} promises that nothing breaks: semver asks for {one.needs}"
        yield from _told(self.items)
        for migration in self.migrations:
            yield from _migrating(migration)
        for flows in self.flows:
            yield "", str(flows)

    def __str__(self) -> str:
        return "\n".join(f"{sign or ' '} {text}" for sign, text in self.lines())


def _told(items: tuple[Item, ...]) -> Iterator[tuple[str, str]]:
    """Things but components, and the operations of one path in one line."""
    paths: dict[tuple[str, str], list[str]] = {}
    for item in items:
        if item.kind == "component":
            continue
        if item.kind != "route":
            yield SIGNS[item.how], str(item)
            continue
        method, _, path = item.name.partition(" ")
        paths.setdefault((item.how, path), []).append(method)
    for (how, base), below in _bases(paths).items():
        if len(below) > MANY:
            yield SIGNS[how], f"routes at {base} and {len(below) - 1} below it"
            continue
        for path in below:
            yield SIGNS[how], f"route {', '.join(paths[how, path])} {path}"


def _bases(paths: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """The paths of each way and endpoint."""
    found: dict[tuple[str, str], list[str]] = {}
    for how, path in paths:
        found.setdefault((how, path.partition("/{")[0]), []).append(path)
    return found


def _migrating(migration: Migration) -> Iterator[tuple[str, str]]:
    for model in migration.models:
        count = f"{model.records:,} record{'' if model.records == 1 else 's'} of {model.model}"
        yield "~", f"{count} get another form"
        for failing in model.failing:
            some = ", ".join(failing.ids)
            yield "x", f"refused: {failing.records:,} of them cannot: {failing.error} ({some})"
