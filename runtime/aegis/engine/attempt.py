"""One call of a marked method: within its timeout, inside its unit of work, its result checked."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

from aegis.core.component import Call, ModelSpec
from aegis.core.errors import (
    AegisError,
    FrozenError,
    GrantError,
    PortError,
    PortTimeoutError,
    clipped,
)
from aegis.core.policy import Policy
from aegis.engine.context import WORK
from aegis.engine.deadlines import deadlines
from aegis.engine.work import Work
from aegis.protocols import Clock

# An adapter that swallows its cancellation for so long has parked its flow; someone must look.
STUBBORN = 5.0

_log = logging.getLogger("aegis.host")


class _Limit:
    """The deadline of one attempt."""

    __slots__ = ("alarm", "ended", "expired", "name", "task", "timeout", "work")

    def __init__(
        self,
        task: asyncio.Task[Any] | None,
        work: Work,
        name: str,
        timeout: float,
        alarm: Callable[[], None] | None,
    ) -> None:
        self.task = task
        self.work = work
        self.name = name
        self.timeout = timeout
        self.alarm = alarm
        self.expired = False
        self.ended = False

    def expire(self) -> None:
        """Cancel the attempt, and look again whether it lets itself be cancelled."""
        self.expired = self.work.expired = True
        if self.task is not None:
            self.task.cancel()
            self.task.get_loop().call_later(STUBBORN, self._look, context=Context())

    def _look(self) -> None:
        if not self.ended:
            _log.error("port %s ignores its cancellation after %g s", self.name, self.timeout)
            if self.alarm is not None:
                self.alarm()


async def attempt(
    call: Call,
    value: Any,
    arguments: Mapping[str, Any],
    timeout: float,
    work: Work,
    name: str,
    alarm: Callable[[], None] | None = None,
) -> Any:
    """Call a marked method once within `timeout` seconds; what it returned.

    `alarm` is called when it still runs STUBBORN seconds after it was cancelled at its timeout.

    Raises PortTimeoutError when it was cancelled at its timeout, whatever it answered after that,
    else what it raised.
    """
    token = WORK.set(work)
    unpin = None if work.pin is None else work.pin()
    try:
        try:
            result = call.fn(value, **arguments) if value is not None else call.fn(**arguments)
        except (SystemExit, asyncio.CancelledError) as error:
            raise _gave_up(name, error) from error
        if not inspect.isawaitable(result):
            return result
        task = asyncio.current_task()
        limit = _Limit(task, work, name, timeout, alarm)
        bucket = deadlines().put(limit, timeout)
        try:
            answer = await result
            if not limit.expired:
                return answer
        except SystemExit as error:
            raise _gave_up(name, error) from error
        except asyncio.CancelledError as error:
            if not limit.expired:
                if task is None or task.cancelling():
                    raise
                # Nobody cancelled it: what it awaited was cancelled by its own code.
                raise _gave_up(name, error) from error
        except Exception:
            if not limit.expired:
                raise
        finally:
            limit.ended = True
            bucket.discard(limit)
            if limit.expired and task is not None:
                task.uncancel()
        # Whatever it still said came too late to count.
        raise late(name, timeout)
    finally:
        if unpin is not None:
            unpin()
        WORK.reset(token)


def late(name: str, timeout: float) -> PortTimeoutError:
    """What to raise of an attempt that took too long."""
    return PortTimeoutError(
        f"{name} gave no answer within {timeout:g} s",
        hint="whether its partner acted is unknown",
    )


def pause_after(
    error: Exception, attempts: int, policy: Policy, clock: Clock, name: str
) -> float | None:
    """Seconds to wait after `attempts` failed ones, the last with `error`; None: no more of them.

    A `retry_if` that raises says nothing, so it keeps nobody from trying again. What is frozen is
    so the next time, too, and what was not granted only a person changes.
    """
    pause = policy.pause(attempts, clock.dice)
    if pause is None or isinstance(error, FrozenError | GrantError):
        return None
    try:
        return pause if policy.may_retry(error) else None
    except Exception:
        _log.exception("retry_if of %s failed on %s", name, type(error).__name__)
        return pause


def _gave_up(name: str, error: BaseException) -> PortError:
    """What ends a task or a process, raised by component code, as an error of that code."""
    return PortError(f"{name} raised {type(error).__name__}", hint="raise an Exception instead")


def returned(model: ModelSpec, name: str, after: Any, before: Any) -> Any:
    """What a port or command returned, checked: the record, or None for no change."""
    if after is None:
        return before
    cls: type[Any] = model.cls
    if type(after) is not cls:
        raise PortError(
            f"{model.key}.{name} returned {type(after).__name__}",
            hint=f"return self.update(...), or None for no change; not {after!r:.80}",
        )
    if after.id != before.id:
        raise PortError(f"{model.key}.{name} changed the record's id")
    return after


def said(error: Exception) -> str:
    """An error as a step, a log or a list of failures keeps it."""
    if isinstance(error, AegisError):
        return clipped(str(error))
    return clipped(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
