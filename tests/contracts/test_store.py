"""The stores that come with Aegis keep the contract."""

import pytest
import pytest_asyncio

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore

pytest.register_assert_rewrite("tests.contracts.store")

from tests.contracts.store import StoreContract  # noqa: E402 -- after its asserts are made to speak


class TestMemoryStore(StoreContract):
    @pytest_asyncio.fixture
    async def store(self):
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()


class TestSqliteStore(StoreContract):
    @pytest_asyncio.fixture
    async def store(self, tmp_path):
        store = SqliteStore(tmp_path / "data")
        await store.open()
        yield store
        await store.close()
