"""For tests of components: a host in memory, with a clock whose sleeps take no time."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aegis.adapters.cipher import AesCipher, random_key
from aegis.adapters.clock import SystemClock
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.storage.datasources.kinds import making
from aegis.adapters.storage.memory import MemoryStore
from aegis.core.component import Revision, Source
from aegis.core.keep import Keep
from aegis.core.policy import Policy
from aegis.core.port import REQUIRED
from aegis.engine.host import Host
from aegis.protocols import Analyst, Datasource, Store


class EagerClock(SystemClock):
    """Real ids and times; a sleep returns at once and is written down in `slept` (seconds).

    Its dice always show `shown`: 0, so that jitter takes nothing off a pause.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []
        self.shown = 0.0

    def dice(self) -> float:
        """What it always shows."""
        return self.shown

    async def sleep(self, seconds: float) -> None:
        """Return in the loop's next turn."""
        self.slept.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def memory_host(
    *,
    store: Store | None = None,
    clock: SystemClock | None = None,
    values: Mapping[str, Any] | None = None,
    bindings: Mapping[str, str] | None = None,
    defaults: Policy | None = None,
    recordings: bool = True,
    keep: Keep | None = None,
    datasources: Mapping[str, Callable[[], Datasource]] | None = None,
    stores: Mapping[str, str] | None = None,
) -> AsyncGenerator[Host]:
    """An open host that keeps everything in memory and closes at the end.

    `defaults` is how ports are attempted of which neither they nor `values` (`ports.timeout`) say
    something. Models that say `store=` are kept in datasources that forget, `datasources` makes
    others, by name; `stores` chooses one by model. With `recordings` what adapters answer is kept,
    for `host.replay`.
    """
    known = values or {}
    host = Host(
        store=store or MemoryStore(),
        clock=clock or EagerClock(),
        loader=PythonLoader(),
        lookup=lambda key: known.get(key, REQUIRED),
        bindings=bindings,
        scratch=MemoryStore,
        cipher=AesCipher(random_key()) if recordings else None,
        defaults=defaults,
        keep=keep,
        analyst=_analyst,
        datasources={**making({}, None), **(datasources or {})},
        stores=stores,
    )
    async with host:
        yield host


def _analyst(store: Store) -> Analyst:
    from aegis.adapters.analyst.duckdb import DuckAnalyst

    return DuckAnalyst(store)


def load(text: str, name: str = "sample", version: str = "1.0.0") -> Revision:
    """A component's text as a loaded revision, without a host."""
    return PythonLoader().load(Source.of(name, version, textwrap.dedent(text), origin="test"))
