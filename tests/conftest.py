"""What many tests share: hosts in memory that close at the end."""

import os

import pytest

from aegis.testing import memory_host

# Where this is set, each of the many programs that tests start would compile all it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture
async def host():
    async with memory_host() as host:
        yield host
