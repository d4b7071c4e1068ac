"""What many tests share: hosts in memory that close at the end."""

import os

import pytest
from hypothesis import settings

from aegis.testing import memory_host
from tests.examples import TIMES

settings.register_profile("house", max_examples=settings().max_examples * TIMES)
settings.load_profile("house")

# Where this is set, each of the many programs that tests start would compile all it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture
async def host():
    async with memory_host() as host:
        yield host
