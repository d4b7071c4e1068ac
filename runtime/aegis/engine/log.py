"""Gives a host's monitor what the host and its components log; prints nothing."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from aegis.core.component import MODULES
from aegis.core.errors import AegisError
from aegis.core.wire import Level
from aegis.engine.meter import told

if TYPE_CHECKING:
    from aegis.engine.monitor import Monitor

TRACED = 4000  # characters of a traceback, the last ones

HOST = logging.getLogger("aegis")
# What component code logs by `logging.getLogger(__name__)`.
COMPONENTS = logging.getLogger(MODULES.rstrip("."))


class Log:
    """Hears the loggers between `open` and `close`. What they print besides is not touched."""

    def __init__(self, monitor: Monitor) -> None:
        self._handlers = (_Handler(monitor), _ComponentHandler(monitor))

    def open(self) -> None:
        """Hear from now on; `log()` of components is of level info, so that is let through."""
        for logger, handler in zip((HOST, COMPONENTS), self._handlers, strict=True):
            if logger.level == logging.NOTSET and not _heard(logger):
                logger.setLevel(logging.INFO)
                handler.levelled = True
            logger.addHandler(handler)

    def close(self) -> None:
        """Hear no more; safe to call twice."""
        for logger, handler in zip((HOST, COMPONENTS), self._handlers, strict=True):
            logger.removeHandler(handler)
            if handler.levelled:
                handler.levelled = False
                others = _heard(logger)
                if others:
                    others[0].levelled = True
                else:
                    logger.setLevel(logging.NOTSET)


class _Handler(logging.Handler):
    """Notes what is logged, on whatever thread. `levelled`: it set the level of its logger."""

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self._monitor = monitor
        self.levelled = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            error = _error(record)
            text = record.getMessage()
            if record.exc_info and error is not None:
                text = f"{text}: {told(error)}"
            more = None if error is None else traced(error)
            self._monitor.note(_level(record), self.source(record.name), text, more)
        except Exception:
            self.handleError(record)

    def source(self, logger: str) -> str:
        """`host`, `http`, or the component that said it by `log()`."""
        return logger.removeprefix("aegis.").partition("@")[0]


class _ComponentHandler(_Handler):
    """As above, for component code; where nobody listens Python prints it still, and so do we."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        last = logging.lastResort
        if last is None or logging.getLogger().handlers or _heard(COMPONENTS)[0] is not self:
            return
        if COMPONENTS.propagate and record.levelno >= last.level:
            last.handle(record)

    def source(self, logger: str) -> str:
        module = logger.removeprefix(MODULES).partition(".")[0]
        return module.rpartition("_r")[0] or module


def _error(record: logging.LogRecord) -> BaseException | None:
    """The error that a line is about: the one it has a traceback of, or its `fault`.

    What the host logs of component code's errors has them as `fault`, so that only its own log
    shows where they came from.
    """
    fault = getattr(record, "fault", None)
    if isinstance(fault, BaseException):
        return fault
    return record.exc_info[1] if record.exc_info else None


def traced(error: BaseException) -> str:
    """The traceback of an error: of component code its own lines only, else all of it."""
    while isinstance(error, AegisError) and error.__cause__ is not None:
        error = error.__cause__  # ours only says in other words what component code raised
    own = [step for step in _steps(error.__traceback__) if _is_component(step)]
    if not own:
        return "".join(traceback.format_exception(error))[-TRACED:]
    frames = traceback.StackSummary.extract((step.tb_frame, step.tb_lineno) for step in own)
    lines = [*frames.format(), *traceback.format_exception_only(error)]
    return "".join(lines)[-TRACED:]


def _steps(step: TracebackType | None) -> Iterator[TracebackType]:
    while step is not None:
        yield step
        step = step.tb_next


def _is_component(step: TracebackType) -> bool:
    return str(step.tb_frame.f_globals.get("__name__", "")).startswith(MODULES)


def _level(record: logging.LogRecord) -> Level:
    if record.levelno >= logging.ERROR:
        return "error"
    if record.levelno >= logging.WARNING:
        return "warning"
    return "info" if record.levelno >= logging.INFO else "debug"


def _heard(logger: logging.Logger) -> list[_Handler]:
    return [handler for handler in logger.handlers if isinstance(handler, _Handler)]
