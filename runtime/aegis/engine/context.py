"""What component code may ask of the unit of work that it runs in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aegis.core.errors import AegisError
from aegis.core.event import Emission, event
from aegis.core.trace import CELL

if TYPE_CHECKING:
    from aegis.engine.work import Work

WORK: ContextVar[Work | None] = ContextVar("aegis_work", default=None)

# Who set off what is under way, as whoever embeds the host names them (a kernel: a cell); None when
# nobody there did.
CALLER: ContextVar[Any] = ContextVar("aegis_caller", default=None)

# Who asks from outside, as a trace shows it; the HTTP API says that it does.
SOURCE: ContextVar[str] = ContextVar("aegis_source", default=CELL)

# Says where the output of component code goes: called with who set it off (None: nobody knows) and
# the label of the code before each call of it; gives what ends that.
Outlet = Callable[[Any, str], Callable[[], None]]


def current(verb: str) -> Work:
    """The unit of work under way. Raises AegisError outside of one."""
    work = WORK.get()
    if work is None:
        raise AegisError(
            f"{verb} works inside a port, command or listener that a host runs",
            hint="outside one, call the host's verbs",
        )
    return work


def emit(name: str, subject: str | None = None, /, **data: Any) -> None:
    """Publish an event when the unit of work under way is committed; dropped when it raises.

    `name` is of the form `noun.verbed`; `subject` is the record under way unless given. Raises
    GrantError for an event of another component's models, unless that and the operator allow it.
    """
    said = event(name, subject, **data)
    work = current("emit()")
    refused = None if work.reach is None else work.reach.telling(work.label, name)
    if refused is not None:
        raise refused
    work.emissions.append(
        said if said.subject is not None else Emission(said.type, said.data, work.subject)
    )


def idempotency_key() -> str:
    """The key of the step under way: the same on every attempt, after a crash and in its undo.

    Send it to a partner that promises one effect per key.
    """
    return current("idempotency_key()").key


def log(message: str, **fields: Any) -> None:
    """Write to the host's log, under the component's name."""
    work = WORK.get()
    label = "component" if work is None else work.label
    details = "".join(f" {name}={value!r}" for name, value in fields.items())
    logging.getLogger(f"aegis.{label}").info("%s%s", message, details)
