"""What many tests share: hosts in memory that close at the end."""

import pytest

from aegis.testing import memory_host


@pytest.fixture
async def host():
    async with memory_host() as host:
        yield host
