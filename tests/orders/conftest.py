"""The partners for a test, and a host with the tutorial's component beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aegis.bootstrap import build_host, start_server
from aegis.configuration import Config
from aegis.engine.host import Host
from tests.orders.sandbox import Sandbox, hasty, partners


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with partners(tmp_path / "partners.ledger") as running:
        yield running


@pytest.fixture
async def host(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[Host]:
    """A host on disk with `orders` deployed, impatient so that a time-out takes no seconds.

    It serves, because partners that answer later post their events there.
    """
    config = Config(data=tmp_path / "data", token="sesame", overrides={"partners.url": sandbox.url})
    async with build_host(config) as host:
        server = await start_server(host, config)
        await host.deploy("orders", "1.0.0", hasty(), origin="test")
        yield host
        await server.close()
