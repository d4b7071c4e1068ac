"""A module that is saved is deployed, and one that is half written is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aegis.adapters.components.watch import Followed, Watcher
from aegis.bootstrap import build_watcher
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.wasm.shop import built, served, shop


class Following:
    """A host that follows a module, and what it told of it."""

    def __init__(self, host: Host, watcher: Watcher) -> None:
        self.host = host
        self.watcher = watcher
        self.told: asyncio.Queue[Followed] = asyncio.Queue()

    async def next(self) -> Followed:
        return await asyncio.wait_for(self.told.get(), 10)

    @property
    def version(self) -> str:
        return self.host.engine.registry.live["shop"].version


@pytest.fixture
async def following() -> AsyncGenerator[Following]:
    async with memory_host() as host:
        watcher = build_watcher(host)
        yield Following(host, watcher)
        await watcher.close()


async def test_every_save_is_deployed_and_a_broken_one_is_told(
    following: Following, tmp_path: Path
) -> None:
    path = tmp_path / "out.wasm"
    path.write_bytes(built(shop()))
    (state,) = await following.watcher.watch(path, tell=following.told.put_nowait)
    assert (state.component, following.version) == ("shop", "1.0.0")
    await following.next()
    path.write_bytes(built(shop("1.1.0", status="SENT")))
    state = await following.next()
    assert (state.error, state.saves, following.version) == (None, 2, "1.1.0")
    assert await served(following.host) == "SENT"
    path.write_bytes(built("(module)"))
    state = await following.next()
    assert "exports no 'memory'" in str(state.error)
    problems = {one.source: one.text for one in following.host.monitor.problems()}
    assert problems["watch:shop"].endswith("; 1.1.0 still serves")
    assert await served(following.host) == "SENT"
    path.write_bytes(built(shop("1.2.0")))
    assert (await following.next()).error is None
    assert following.version == "1.2.0"
    assert not following.host.monitor.problems()


async def test_what_a_compiler_writes_bit_by_bit_is_deployed_when_it_is_whole(
    following: Following, tmp_path: Path
) -> None:
    path = tmp_path / "shop.wasm"
    path.write_bytes(built(shop()))
    await following.watcher.watch(path, tell=following.told.put_nowait)
    await following.next()
    whole = built(shop("1.1.0"))
    with path.open("wb") as file:
        for at in range(0, len(whole), len(whole) // 6):
            file.write(whole[at : at + len(whole) // 6])
            file.flush()
            await asyncio.sleep(0.07)
            assert following.version in {"1.0.0", "1.1.0"}
    await until(lambda: following.version == "1.1.0", 10)
    await until(lambda: not following.host.monitor.problems())
    assert [one.version for one in await following.host.store.deployments()] == ["1.0.0", "1.1.0"]


async def test_a_text_is_assembled_at_every_save_and_its_mistakes_have_lines(
    following: Following, tmp_path: Path
) -> None:
    (tmp_path / "shop.wat").write_text(shop())
    (tmp_path / "shop.wasm").write_bytes(built(shop()))
    (tmp_path / "core.wasm").write_bytes(built("(module)"))
    found = await following.watcher.watch(tmp_path, tell=following.told.put_nowait)
    assert [one.path.name for one in found] == ["shop.wat"]
    await following.next()
    (tmp_path / "shop.wat").write_text(shop().replace("(local $i i32)", "(locl $i i32)"))
    state = await following.next()
    assert "(locl $i i32)" in str(state.error)
    assert "line " in str(state.error)
    (tmp_path / "pay.wasm").write_bytes(built(shop(name="pay")))
    await until(lambda: "pay" in following.host.engine.registry.live, 10)
