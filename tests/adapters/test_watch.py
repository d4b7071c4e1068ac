"""Followed component files: every save is deployed, and whatever is wrong with one is told."""

import asyncio
import shutil
import time

import pytest

from aegis.adapters.components import watch
from aegis.bootstrap import build_watcher
from aegis.core.errors import ConflictError, NotFoundError
from aegis.testing import memory_host
from tests.engine.shop import until

WAIT = 10.0


def component(number=0, name="Order", endpoint="orders", imports=""):
    return (
        f'__version__ = "1.0.{number}"\nfrom aegis import Model\n{imports}'
        f"class {name}(Model, endpoint={endpoint!r}):\n    text: str = ''\n"
    )


class Following:
    """A host that follows a folder's files, and what it told of them."""

    def __init__(self, host, folder):
        self.host = host
        self.folder = folder
        self.watcher = build_watcher(host)
        self.states = asyncio.Queue()

    async def watch(self, path=None, *words):
        found = await self.watcher.watch(
            path or self.folder / "orders.py", *words, tell=self.states.put_nowait
        )
        while not self.states.empty():
            self.states.get_nowait()
        return found

    async def told(self):
        """What came of the next save."""
        return await asyncio.wait_for(self.states.get(), WAIT)

    async def until(self, wanted):
        """The next thing told that is `wanted`; what comes before is passed over."""
        while not wanted(state := await self.told()):
            pass
        return state

    @property
    def version(self):
        return self.host.engine.registry.live["orders"].version

    @property
    def problems(self):
        return {problem.source: problem.text for problem in self.host.monitor.problems()}

    def save(self, text, name="orders.py"):
        (self.folder / name).write_text(text)


@pytest.fixture
async def following(tmp_path):
    async with memory_host() as host:
        following = Following(host, tmp_path)
        following.save(component())
        yield following
        await following.watcher.close()


async def test_a_file_is_deployed_at_once_and_at_every_save(following):
    (state,) = await following.watch()
    assert (state.component, state.deployment.version, state.error) == ("orders", "1.0.0", None)
    for number in range(1, 4):
        following.save(component(number))
        state = await following.told()
        assert (state.deployment.version, state.saves) == (f"1.0.{number}", number + 1)
        assert 0 < state.ms < 5000
    assert following.watcher.followed() == [state]
    assert following.host.engine.registry.live["orders"].source.origin.endswith("orders.py")


async def test_what_it_imports_is_followed_and_found_when_it_comes(following):
    following.save(component(imports="from rates import eu\n"))
    (state,) = await following.watch()
    assert "No module named 'rates'" in str(state.error)
    (following.folder / "rates").mkdir()
    following.save("VAT = 19\n", "rates/eu.py")
    state = await following.until(lambda state: state.error is None)
    before = state.deployment.digest
    following.save("VAT = 7\n", "rates/eu.py")
    assert (await following.told()).deployment.digest != before
    following.save("VAT = 7\n1 / 0\n", "rates/eu.py")
    assert "rates/eu.py, line 2: ZeroDivisionError" in str((await following.told()).error)
    following.save("VAT = 7\n", "rates/eu.py")
    assert (await following.told()).error is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"__version__ = '1.0.1'\ndef f(:\n", "orders.py, line 2: invalid syntax: def f(:"),
        (b"__version__ = '1.0.1'\n1 / 0\n", "orders.py, line 2: ZeroDivisionError"),
        (b"x = 1\n", "says no version"),
        (b"\xff\xfe\x00", "orders.py has no text"),
        (b"", "orders.py is empty"),
        (component(1, endpoint="Bad One").encode(), "must be lower case"),
    ],
)
async def test_a_broken_save_is_told_and_the_old_one_serves_until_it_is_mended(
    following, content, said
):
    await following.watch()
    (following.folder / "orders.py").write_bytes(content)
    state = await following.told()
    assert said in str(state.error) or said in following.problems["watch:orders"]
    assert said in following.problems["watch:orders"]
    assert following.problems["watch:orders"].endswith("; 1.0.0 still serves")
    assert following.version == "1.0.0"
    following.save(component(2))
    assert (await following.told()).error is None
    assert following.problems == {}
    assert following.version == "1.0.2"


async def test_a_file_that_vanished_serves_on_and_is_followed_again_when_it_is_back(following):
    await following.watch()
    (following.folder / "orders.py").unlink()
    state = await following.told()
    assert "cannot be read: No such file" in str(state.error)
    assert following.version == "1.0.0"
    following.save(component())
    state = await following.told()
    assert (state.error, following.problems) == (None, {})


async def test_a_folder_that_was_replaced_is_followed_on(following, tmp_path):
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "orders.py").write_text(component())
    await following.watch(shop / "orders.py")
    shutil.move(shop, tmp_path / "old")
    shop.mkdir()
    (shop / "orders.py").write_text(component(1))
    await following.until(lambda state: following.version == "1.0.1")
    (shop / "orders.py").write_text(component(2))
    await following.until(lambda state: following.version == "1.0.2")
    shutil.rmtree(shop)
    assert (await following.until(lambda state: state.error)).deployment.version == "1.0.2"


async def test_editors_save_by_rename_and_leave_other_files(following):
    await following.watch()
    for number in range(1, 4):
        following.save("not python (", ".orders.py.swp")
        following.save(component(number), "orders.py.tmp")
        following.save("", "4913")
        (following.folder / "orders.py").rename(following.folder / "orders.py~")
        (following.folder / "orders.py.tmp").rename(following.folder / "orders.py")
        state = await following.told()
        assert (state.deployment.version, state.error) == (f"1.0.{number}", None)
    assert following.states.empty()


async def test_of_a_burst_of_saves_the_last_one_wins(following):
    await following.watch()
    for number in range(1, 60):
        following.save("")
        following.save(component(number))
    state = await following.until(lambda state: state.deployment.version == "1.0.59")
    assert state.saves < 30
    assert following.version == "1.0.59"


async def test_a_link_is_followed_to_its_file(following, tmp_path):
    (tmp_path / "real").mkdir()
    shutil.move(tmp_path / "orders.py", tmp_path / "real" / "orders.py")
    (tmp_path / "orders.py").symlink_to(tmp_path / "real" / "orders.py")
    await following.watch()
    following.save(component(1), "real/orders.py")
    assert (await following.told()).deployment.version == "1.0.1"
    following.save(component(2), "real/other.py")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "other.py")
    (tmp_path / "link").replace(tmp_path / "orders.py")
    assert (await following.told()).deployment.version == "1.0.2"


async def test_the_components_of_a_folder_are_followed_new_ones_too(following, tmp_path):
    following.save("X = 1\n", "helper.py")
    states = await following.watch(tmp_path)
    assert [state.component for state in states] == ["orders"]
    following.save(component(3, "Note", "notes"), "notes.py")
    state = await following.told()
    assert (state.component, state.deployment.version) == ("notes", "1.0.3")
    following.save(component(4, "Note", "notes"), "notes.py")
    assert (await following.told()).deployment.version == "1.0.4"
    following.save('__version__ = "1.0.0"\n' + component(5, "Aid", "aids"), "helper.py")
    assert (await following.told()).component == "helper"
    gone = following.watcher.unwatch(tmp_path)
    assert [path.name for path in gone] == ["helper.py", "notes.py", "orders.py"]
    assert following.watcher.followed() == []


async def test_saving_it_again_as_it_was_tries_again_only_after_a_failure(following, tmp_path):
    gate = tmp_path / "gate"
    text = component(imports="").replace(
        "from aegis import Model\n",
        "from pathlib import Path\nfrom typing import Protocol\nfrom aegis import Model, adapter, "
        "port\nclass Gate(Protocol):\n    async def go(self) -> None: ...\n"
        "class Door(Gate):\n    async def go(self) -> None: ...\n"
        f"    def open(self):\n        Path({str(gate)!r}).read_text()\n",
    )
    text += "    @port()\n    async def enter(self, gate: Gate = adapter()) -> None: ...\n"
    following.save(text)
    (state,) = await following.watch()
    assert "Door cannot open" in str(state.error)
    gate.touch()
    following.save(text)
    state = await following.told()
    assert (state.error, state.saves) == (None, 1)
    following.save(text)
    following.save(component(5))
    assert (await following.told()).saves == 2


async def test_a_component_is_followed_from_one_file_only(following, tmp_path):
    await following.watch()
    other = tmp_path / "other.py"
    other.write_text(component(9))
    with pytest.raises(ConflictError, match=r"unwatch .*orders\.py"):
        await following.watch(other, "orders", "1.0.0")
    with pytest.raises(NotFoundError):
        await following.watch(tmp_path / "nowhere.py")
    with pytest.raises(NotFoundError, match="is not followed"):
        following.watcher.unwatch(other)
    following.watcher.unwatch(tmp_path / "orders.py")
    (state,) = await following.watch(other, "orders", "2.0.0")
    assert state.deployment.version == "2.0.0"


async def test_a_file_that_may_not_be_read_is_told_and_read_when_it_may(following, monkeypatch):
    # Tests may run as root, whom no mode keeps out; a folder in its place fails as well.
    await following.watch()
    path = following.folder / "orders.py"
    path.unlink()
    path.mkdir()
    assert "cannot be read: Is a directory" in str((await following.told()).error)
    path.rmdir()
    following.save(component(1))
    state = await following.until(lambda state: state.error is None)
    assert state.deployment.version == "1.0.1"


async def test_where_the_system_tells_nothing_polling_finds_it(following, monkeypatch):
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    monkeypatch.setenv("WATCHFILES_POLL_DELAY_MS", "50")
    await following.watch()
    await asyncio.sleep(0.2)
    following.save(component(1))
    assert (await following.told()).deployment.version == "1.0.1"


async def test_without_any_notice_a_change_is_found_by_looking(following, monkeypatch):
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    monkeypatch.setenv("WATCHFILES_POLL_DELAY_MS", "600000")
    await following.watch()
    await asyncio.sleep(0.2)
    began = time.monotonic()
    following.save(component(1))
    assert (await following.told()).deployment.version == "1.0.1"
    assert time.monotonic() - began < 5


async def test_a_file_that_never_ends_to_load_is_told_and_given_up_at_the_next_save(
    following, tmp_path, monkeypatch
):
    monkeypatch.setattr(watch, "STUCK", 0.2)
    gate = tmp_path / "gate"
    await following.watch()
    stuck = f"import time\nfrom pathlib import Path\nwhile not Path({str(gate)!r}).exists():\n"
    following.save(component(1, imports=f"{stuck}    time.sleep(0.01)\n"))
    await until(lambda: "watch:orders" in following.problems)
    assert "has been loading for 0.2 s" in following.problems["watch:orders"]
    assert following.version == "1.0.0"
    following.save(component(2))
    assert (await following.told()).deployment.version == "1.0.2"
    assert following.problems == {}
    gate.touch()
