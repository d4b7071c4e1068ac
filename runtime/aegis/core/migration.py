"""What the change of stored records into the form of new code comes to, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Failing(msgspec.Struct, frozen=True):
    """Records that `migrate` fails on in one way: how, how many, and the ids of the first ones."""

    error: str
    records: int
    ids: tuple[str, ...]


class Sample(msgspec.Struct, frozen=True):
    """One record before and after, as it leaves the host; before is None where no code shows it."""

    id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


class ModelMigration(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one model's records.

    `added`, `removed` and `changed` say of how many records a field is. `failing` has the largest
    group first.
    """

    model: str
    records: int
    added: Mapping[str, int] = {}
    removed: Mapping[str, int] = {}
    changed: Mapping[str, int] = {}
    failing: tuple[Failing, ...] = ()
    samples: tuple[Sample, ...] = ()

    @property
    def failed(self) -> int:
        """How many records cannot be migrated."""
        return sum(group.records for group in self.failing)


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy would make of stored records and open flows, tried on a copy of event `seq`.

    `models` are those whose schema does not fit. `problems` is all that would refuse the deploy,
    what hinders `flows` open flows from moving among it. Nothing was stored.
    """

    component: str
    version: str
    seq: int
    models: tuple[ModelMigration, ...] = ()
    flows: int = 0
    problems: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the deploy would be taken, as things stood."""
        return not self.problems and not any(model.failing for model in self.models)


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment has migrated: records of `models`, open flows; `backup` is where to.

    With `back` it took records back to the form that they had before a migration.
    """

    models: tuple[str, ...]
    records: int
    flows: int
    backup: str | None = None
    back: bool = False
