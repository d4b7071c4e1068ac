"""Two versions of a component side by side: who gets which, and how each of them does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from aegis.core.component import Language, Revision
from aegis.core.deployment import schema_problems
from aegis.core.errors import InvalidError

BUCKETS = 10_000
RECORD = "record"
HEADER = "header:"


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """`candidate` gets `weight` percent of the keys, the live revision the others.

    `by` is what a key is: `record`, the id of the record that is meant, or `header:NAME`, what a
    request says there (and the record's id where nothing is said, or no request is there).
    """

    component: str
    candidate: Revision
    weight: float
    by: str = RECORD

    @property
    def header(self) -> str | None:
        """The name of the header with the key, lower case, None when the record's id is it."""
        return self.by.removeprefix(HEADER).lower() if self.by.startswith(HEADER) else None

    def takes(self, key: str | None) -> bool:
        """Whether the candidate gets a key. A larger weight takes none away from it.

        What has no key is the live revision's.
        """
        return key is not None and bucket(self.component, key) < self.weight * (BUCKETS / 100)


class ArmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a split since it began: calls, how many raised, and of the last ones p50, p99.

    `weight` is in percent, times are in milliseconds, None before there was a call.
    """

    version: str
    digest: str
    origin: str
    weight: float
    calls: int
    errors: int
    p50: float | None
    p99: float | None
    language: Language = "python"


class SplitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A split as people see it: the live revision and the candidate beside it."""

    component: str
    by: str
    live: ArmStatus
    candidate: ArmStatus


def bucket(component: str, key: str) -> int:
    """Where a key is among `BUCKETS`, always the same; of other components it is another."""
    digest = hashlib.blake2b(f"{component}\0{key}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest) % BUCKETS


def check(weight: float, by: str) -> None:
    """Raise InvalidError unless a split can be made of these."""
    if not 0 <= weight <= 100:
        raise InvalidError(
            f"a candidate cannot get {weight:g} percent of the calls", hint="0 to 100"
        )
    if by != RECORD and not (by.startswith(HEADER) and by.removeprefix(HEADER).strip()):
        raise InvalidError(
            f"a split does not go by {by!r}", hint="by 'record', or by 'header:NAME'"
        )


def problems(live: Revision, candidate: Revision) -> list[str]:
    """What keeps a candidate from serving beside the live revision on the same records."""
    name, found = live.name, []
    if candidate.version == live.version:
        found.append(
            f"it has the version number {live.version}, as what is live: flows stay with their "
            "number, so give the candidate another"
        )
    for model in candidate.models:
        other = live.by_name.get(model.name)
        if other is None:
            if model.store is not None or (model.rules is not None and model.rules.unique):
                found.append(
                    f"{model.key} is new and is kept elsewhere, or has unique fields: a candidate "
                    "cannot bring that, so deploy it"
                )
            continue
        before, after = live.schemas[model.key], candidate.schemas[model.key]
        found += [
            problem.partition(": 1 stored record")[0]
            + f": both versions read the same records; deploy it with a `migrate`, or keep {name} "
            "as it is until the split has ended"
            for problem in schema_problems(model.key, before, after, 1)
        ]
        if model.document().get("rules") != other.document().get("rules"):
            found.append(f"{model.key}: the markers of its fields are others: deploy it instead")
        if model.store != other.store:
            found.append(f"{model.key}: it is kept in another place: deploy it instead")
    return found
