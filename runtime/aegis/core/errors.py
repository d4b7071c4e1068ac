"""Every error of Aegis: one root, an HTTP status on each, the thing at fault and the likely fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import msgspec


class AegisError(Exception):
    """The root. `status` is the HTTP status, `title` a stable short name, `hint` the likely fix.

    `fields` are members that an RFC 9457 problem document carries besides the standard ones.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, hint: str | None = None, **fields: Any) -> None:
        super().__init__(detail if hint is None else f"{detail} ({hint})")
        self.detail = detail
        self.hint = hint
        self.fields = fields

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 problem document: type, title, status, detail, hint and further fields."""
        document: dict[str, Any] = {
            "type": f"urn:aegis:problem:{type(self).__name__}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.hint is not None:
            document["hint"] = self.hint
        document.update(self.fields)
        return document


class BadRequestError(AegisError):
    """The request cannot be read: no JSON, a bad header, a bad query."""

    status = 400
    title = "Bad request"


class SqlError(BadRequestError):
    """A question in SQL that cannot be answered: a mistake in it, or a limit that it reached.

    `fields` have the `line` and `column` of the mistake, from 1, where DuckDB tells them.
    """

    title = "SQL refused"


class UnauthorizedError(AegisError):
    """No token, or a wrong one."""

    status = 401
    title = "Unauthorized"


class NotFoundError(AegisError):
    """No such model, record, port, command, component, flow or route."""

    status = 404
    title = "Not found"


class MethodNotAllowedError(AegisError):
    """The route exists, the method does not."""

    status = 405
    title = "Method not allowed"


class ConflictError(AegisError):
    """The current state forbids it: a field changed meanwhile, an open flow, a key in use."""

    status = 409
    title = "Conflict"


class DuplicateError(ConflictError):
    """A value that another record has in a unique field; `fields` have the name as `field`."""

    title = "Duplicate value"


class MigratingError(ConflictError):
    """The records of a component are changing form, or have: repeat the call when that is done.

    Whoever takes calls from outside does so by itself; nothing was changed by this one.
    """

    title = "Migrating"

    def __init__(self, component: str) -> None:
        super().__init__(f"the records of {component!r} are being migrated", hint="repeat the call")
        self.component = component


class StaleError(AegisError):
    """The revision named by If-Match is not the current one."""

    status = 412
    title = "Precondition failed"


class TooLargeError(AegisError):
    """A body, a header or a page beyond its limit."""

    status = 413
    title = "Too large"


class UnsupportedTypeError(AegisError):
    """A body whose media type is not JSON."""

    status = 415
    title = "Unsupported media type"


class InvalidError(AegisError):
    """Well-formed data that breaks the model: unknown field, wrong type, broken constraint."""

    status = 422
    title = "Invalid data"


class FrozenError(InvalidError):
    """A field that must stay as it is would be changed; `fields` have its name as `field`."""

    title = "Frozen field"


class UnconditionalError(AegisError):
    """A write without If-Match."""

    status = 428
    title = "Precondition required"


class BusyError(AegisError):
    """A limit on work in flight is reached; try again after `retry_after` seconds."""

    status = 503
    title = "Busy"

    def __init__(self, detail: str, *, retry_after: int = 1, **fields: Any) -> None:
        super().__init__(detail, hint=f"try again in {retry_after} s", **fields)
        self.retry_after = retry_after


class BreakerOpenError(BusyError):
    """A partner kept failing, so it is not asked for a while; nothing was done."""

    title = "Breaker open"


class ClosedError(AegisError):
    """The host is closing or closed, or a component is not serving."""

    status = 503
    title = "Not serving"


class ExpectedError(AegisError):
    """An event that somebody waited for did not come in time."""

    status = 504
    title = "Nothing came"


class OverrunError(AegisError):
    """A subscription ended: its reader was slower than the events, and it said to end then."""

    status = 503
    title = "Overrun"


class PortError(AegisError):
    """A port failed: its adapter raised, timed out, or it returned what a port may not return."""

    status = 502
    title = "Port failed"


class PortTimeoutError(PortError, TimeoutError):
    """A port's attempt was cancelled at its timeout; whether the partner acted is unknown."""

    status = 504
    title = "Port timed out"


class GuestError(PortError):
    """Code in a sandbox failed: it said so, or it was stopped, at a limit or by a mistake of its.

    `trap` (see core.guest) has the call with its backtrace where it was stopped, None where the
    guest itself gave an error. `fields` have the backtrace as `frames`, the innermost first.
    """

    title = "Guest failed"

    def __init__(self, detail: str, *, hint: str | None = None, trap: Any = None) -> None:
        fields = {"frames": list(trap.frames)} if trap is not None and trap.frames else {}
        super().__init__(detail, hint=hint, **fields)
        self.trap = trap


class Refused(AegisError):  # noqa: N818 -- an author raises it as a statement: `raise Refused("short")`
    """What an author raises to end a step or command for good: no retry, nothing to undo for it.

    `emit` is an event (made by `aegis.event`) that is kept although the step's changes are not.
    """

    status = 409
    title = "Refused"

    def __init__(self, reason: str, *, emit: Any = None) -> None:
        super().__init__(reason)
        self.emit = emit


class ComponentError(AegisError):
    """A component cannot be loaded, or its graph has problems; what served before still serves.

    `texts` are its refused files by what tracebacks call them: nothing else keeps them. However
    many and long its problems are, so much is told that people can read it.
    """

    most = 50  # problems, of 1,000 characters each
    status = 422
    title = "Component refused"
    texts: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, component: str, problems: Sequence[str], *, hint: str | None = None, **fields: Any
    ) -> None:
        self.component = component
        more = len(problems) - self.most
        problems = [clipped(problem, 1000) for problem in problems[: self.most]]
        if more > 0:
            problems.append(f"and {more:,} more")
        self.problems = tuple(problems)
        listing = problems[0] if len(problems) == 1 else "".join(f"\n  - {p}" for p in problems)
        super().__init__(
            f"component {component!r} is refused: {listing}",
            hint=hint,
            component=component,
            problems=problems,
            **fields,
        )


class GateError(ConflictError):
    """What was recorded comes to something else on a candidate; what served before still serves.

    `rehearsal` (see core.rehearsal) has the figures, the flows and how they differ.
    """

    title = "Gate refused"

    def __init__(self, detail: str, *, rehearsal: Any) -> None:
        super().__init__(
            detail,
            hint="look at what differs; allow it in the gate, or deploy without one",
            rehearsal=msgspec.to_builtins(rehearsal),
        )
        self.rehearsal = rehearsal


class SourceError(AegisError):
    """A component cannot be had from where it is: no such place, no answer, or not in time."""

    status = 502
    title = "Source not available"


class ManifestError(AegisError):
    """What a source says of its component cannot be read, or does not fit what is in it."""

    status = 422
    title = "Manifest refused"


class TrustError(AegisError):
    """A component from elsewhere is not what its owner signed, or nobody who is trusted did."""

    status = 403
    title = "Not trusted"


class DigestError(TrustError):
    """A file, or a whole source, is not the one that was meant: another SHA-256."""


class GrantError(AegisError):
    """A component reaches for what another one does not export, or nobody granted to it."""

    status = 403
    title = "Not granted"


class ConfigError(AegisError):
    """A configuration value is missing, unknown or of the wrong type."""

    status = 500
    title = "Bad configuration"


class StoreError(AegisError):
    """The store cannot be opened, read or written."""

    status = 500
    title = "Store failed"


class DatasourceError(StoreError):
    """A datasource, where some models are kept, does not answer; it is asked again."""

    status = 503
    title = "Datasource away"


class OwnedError(StoreError):
    """The data directory belongs to another running host."""

    title = "Data directory in use"


class CorruptError(StoreError):
    """Stored data fails its integrity check or cannot be decoded."""

    title = "Data damaged"


class RecordingError(AegisError):
    """What an adapter answered cannot be read back: another key, damage, or it was not recorded."""

    status = 409
    title = "No recording"


class SealError(StoreError):
    """A sealed field cannot be opened: another key, damage, or it was sealed for another place."""

    title = "Sealed data"


class NewerFormatError(StoreError):
    """The data directory was written by a newer version of Aegis."""

    title = "Data of a newer version"


def clipped(text: str, most: int = 4000) -> str:
    """Text of somebody else's error, cut where it would be too long to keep."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def closest(word: str, words: Iterable[str]) -> str | None:
    """`did you mean 'x'?` for the most similar of `words`, or None: the likely fix of a typo."""
    match = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"did you mean {match[0]!r}?" if match else None
