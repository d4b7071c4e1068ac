"""A host with the shop, its desk, and the clock that writes down what was slept."""

import pytest

from aegis.testing import EagerClock, memory_host
from tests.engine.shop import TEXT, Desk


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def clock():
    return EagerClock()


@pytest.fixture
async def shop(desk, clock):
    async with memory_host(values={"say": desk}, clock=clock) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        yield host
