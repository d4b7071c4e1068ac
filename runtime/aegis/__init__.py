"""Aegis: federated components, each versioned and hot-deployed on its own, in one process.

These are the names that a component's author writes with.
"""

from typing import TYPE_CHECKING, Any

from aegis.core.clause import Clause, all_of, any_of, not_
from aegis.core.constraint import Meta
from aegis.core.errors import Refused
from aegis.core.event import Event, event
from aegis.core.model import Model
from aegis.core.port import (
    Secret,
    Waiting,
    adapter,
    blocking,
    command,
    config,
    on,
    port,
    service,
    waiting,
)
from aegis.core.rule import (
    derived,
    encrypted,
    frozen,
    frozen_when,
    private,
    required_when,
    unique,
)
from aegis.core.serializer import Serializer
from aegis.engine.context import emit, idempotency_key, log
from aegis.engine.relation import relation

if TYPE_CHECKING:
    from aegis.engine.host import Host

__version__ = "0.1.0"

__all__ = [
    "Clause",
    "Event",
    "Host",
    "Meta",
    "Model",
    "Refused",
    "Secret",
    "Serializer",
    "Waiting",
    "adapter",
    "all_of",
    "any_of",
    "blocking",
    "command",
    "config",
    "derived",
    "emit",
    "encrypted",
    "event",
    "frozen",
    "frozen_when",
    "idempotency_key",
    "log",
    "not_",
    "on",
    "port",
    "private",
    "relation",
    "required_when",
    "service",
    "unique",
    "waiting",
]


def __getattr__(name: str) -> Any:
    # A component that never names the host does not pay for importing it.
    if name == "Host":
        from aegis.engine.host import Host

        return Host
    raise AttributeError(f"module 'aegis' has no attribute {name!r}")
