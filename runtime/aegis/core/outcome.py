"""What came of asking a host for a deploy: the plan, what its gate found, what was deployed."""

from __future__ import annotations

import msgspec

from aegis.core.deployment import Deployment
from aegis.core.difference import Difference
from aegis.core.rehearsal import Rehearsal
from aegis.core.split import SplitStatus


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a deploy, or to a plan of one: `deployment` is None where only that was asked.

    `same` says that this very code served already, so that nothing was done. `rehearsal` is there
    where a gate was asked for, `plan` where a plan was, `split` where it is tried beside what is
    live instead of deployed.
    """

    deployment: Deployment | None = None
    same: bool = False
    rehearsal: Rehearsal | None = None
    plan: Difference | None = None
    split: SplitStatus | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="progress"):
    """A line of a long answer: how far `what` (fetch, gate) is; `of` 0 where nobody knows."""

    what: str
    done: int
    of: int


class Result(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="result"):
    """The last line, with the answer."""

    answer: Asked


class Problem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="problem"):
    """The last line, where it failed: an RFC 9457 problem document."""

    problem: dict[str, object]


Line = Told | Result | Problem
