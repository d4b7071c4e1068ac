"""Keeps what adapters answered to the steps of flows, sealed, so that it can be replayed."""

from __future__ import annotations

import asyncio
import functools
import logging
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aegis.core.component import ENCODER
from aegis.core.errors import AegisError, RecordingError
from aegis.core.flow import Step
from aegis.engine.context import WORK
from aegis.protocols import Cipher, Recording, Store

if TYPE_CHECKING:
    from aegis.engine.ledger import Draft
    from aegis.engine.run import Run
    from aegis.engine.work import Work

Outcome = Literal["returned", "raised", "timeout", "cut", "unrecordable"]

_PLAIN = frozenset({str, int, float, bool, NoneType, Decimal})
_NOTHING: dict[str, Any] = {}

_log = logging.getLogger("aegis.host")


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """One call of an adapter by a port, and what came of it.

    `value` is what it returned; of an error that it raised a Raised; of what cannot be written as
    JSON the reason. `timeout` and `cut` have none.
    """

    protocol: str
    method: str
    arguments: list[msgspec.Raw]
    named: dict[str, msgspec.Raw]
    outcome: Outcome
    value: msgspec.Raw


class Raised(msgspec.Struct, frozen=True):
    """An exception: the name of its class, its text, and what it carries, as JSON has it."""

    type: str
    text: str
    args: list[Any] = []
    attributes: dict[str, Any] = {}


class Recorder:
    """What the steps of one host record. A call costs a tuple; an attempt is one sealed text."""

    def __init__(self, cipher: Cipher, store: Store) -> None:
        self._cipher = cipher
        self._store = store
        self._failed = False

    async def look(self, run: Run) -> None:
        """Find out which attempts of a flow an earlier run of the host has recorded."""
        known = await self._store.recordings(run.flow.id)
        run.recorded = {one.n: one.attempt for one in known}

    def keep(self, run: Run, step: Step, work: Work) -> None:
        """Seal what an attempt recorded; it is stored with the next commit of its flow."""
        calls, work.calls = work.calls, None
        if not calls or run.recorded is None:
            return
        attempt = run.recorded.get(step.n, 0) + 1
        about = _about(run.flow.id, step.n, attempt)
        try:
            doc = self._cipher.seal(_encoded(calls), about)
        except (AegisError, OSError) as error:
            if not self._failed:
                _log.error("what adapters answer is not recorded any more: %s", error)
            self._failed = True
            return
        self._failed = False
        run.recorded[step.n] = attempt
        run.recordings.append((step.n, attempt, doc))

    def opened(self, recording: Recording) -> list[Answered]:
        """The calls of an attempt, in order. Raises RecordingError."""
        about = _about(recording.flow, recording.n, recording.attempt)
        data = self._cipher.open(recording.doc, about)
        try:
            return msgspec.json.decode(data, type=list[Answered])
        except msgspec.MsgspecError as error:
            raise RecordingError(f"a recording of flow {recording.flow} is damaged") from error


def store(draft: Draft, run: Run) -> None:
    """Store with `draft` what attempts of its flow recorded since the last commit; for marks."""
    pending = run.recordings
    # A commit is about one flow, and asks more than once.
    if pending and not draft.commit.recordings:
        flow, now = run.flow.id, draft.now
        draft.commit.recordings = [Recording(flow, n, k, now, doc) for n, k, doc in pending]
        draft.after.append(functools.partial(_stored, run, len(pending)))


def _stored(run: Run, count: int) -> None:
    del run.recordings[:count]


def answered(
    protocol: str,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    value: Any,
    *,
    work: Work | None = None,
) -> None:
    """An adapter answered a call, if it was a step that called: that of `work`, or the current."""
    work = WORK.get() if work is None else work
    if work is None or work.calls is None:
        return
    if not kwargs and type(value) in _PLAIN and _PLAIN.issuperset(map(type, args)):
        work.calls.append((protocol, method, args, _NOTHING, "returned", value))
    else:
        # At once: whoever has it may change it.
        work.calls.append(_frozen((protocol, method, args, kwargs, "returned", value)))


def raised(
    protocol: str,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: BaseException,
    *,
    work: Work | None = None,
) -> None:
    """An adapter raised, or was cut, if it was a step that called: as above."""
    work = WORK.get() if work is None else work
    if work is None or work.calls is None:
        return
    outcome, value = "raised", None
    if isinstance(error, asyncio.CancelledError):
        outcome = "timeout" if work.expired else "cut"
    else:
        value = _raised(error)
    work.calls.append(_frozen((protocol, method, args, kwargs, outcome, value)))


def streamed(protocol: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """An adapter's method gave a stream, which is not recorded."""
    work = WORK.get()
    if work is not None and work.calls is not None:
        said = "it gives a stream"
        work.calls.append(_frozen((protocol, method, args, kwargs, "unrecordable", said)))


def plain(value: Any) -> msgspec.Raw | None:
    """`value` as JSON, None where it has no such form."""
    try:
        return msgspec.Raw(ENCODER.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None


_Call = tuple[str, str, Any, Any, str, Any]


def _frozen(call: _Call) -> _Call:
    """A call as JSON. What has no such form makes it one that cannot be replayed."""
    protocol, method, args, kwargs, outcome, value = call
    given = [plain(arg) for arg in args]
    named = {name: plain(arg) for name, arg in kwargs.items()}
    said = plain(value)
    if said is None:
        outcome, said = "unrecordable", plain(f"{type(value).__name__} has no form as JSON")
    for arg, known in zip((*args, *kwargs.values()), (*given, *named.values()), strict=True):
        if known is None:
            outcome = "unrecordable"
            said = plain(f"its argument {type(arg).__name__} has no form as JSON")
    null = msgspec.Raw(b"null")
    return (
        protocol,
        method,
        [null if arg is None else arg for arg in given],
        {name: null if arg is None else arg for name, arg in named.items()},
        outcome,
        null if said is None else said,
    )


def _raised(error: BaseException) -> Raised:
    try:
        text = str(error)
    except Exception:
        text = ""
    args = [plain(arg) for arg in error.args]
    attributes = {name: plain(value) for name, value in vars(error).items()}
    return Raised(
        type=type(error).__name__,
        text=text,
        args=[arg for arg in args if arg is not None],
        attributes={name: value for name, value in attributes.items() if value is not None},
    )


def _encoded(calls: list[_Call]) -> bytes:
    try:
        return ENCODER.encode(calls)
    except (TypeError, ValueError, OverflowError):
        return ENCODER.encode([_frozen(call) for call in calls])


def _about(flow: str, n: int, attempt: int) -> bytes:
    """What a sealed text is bound to: it opens as nothing else."""
    return f"{flow}.{n}.{attempt}".encode()
