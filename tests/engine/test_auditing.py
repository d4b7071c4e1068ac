"""The audit log: an entry is stored with what it tells of, or neither is."""

import random

import pytest

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.audit import Action
from aegis.core.component import Source
from aegis.core.errors import BadRequestError, ComponentError, StoreError
from aegis.engine.context import SOURCE
from aegis.engine.plan import Change
from aegis.testing import memory_host
from tests.disk import Disk
from tests.fakes import FailingStore

CUP = """
from aegis import Model

class Cup(Model, endpoint="cups"):
    size: int = 1
"""
MIGRATED = """
from aegis import Model

class Cup(Model, endpoint="cups"):
    size: str = ""
    @classmethod
    def migrate(cls, old: dict) -> "Cup":
        return cls(size=str(old["size"]))
"""


async def told(host, **asked):
    return [(one.action, one.about, one.version, one.who) for one in await host.audit(**asked)]


async def test_each_change_of_components_is_told_once_with_who_and_from_where():
    async with memory_host() as host:
        await host.deploy("cups", "1.0.0", CUP, origin="cell 4", who="ada")
        await host.deploy("cups", "1.0.0", CUP)  # serves already
        await host.deploy("cups", "1.1.0", CUP + "# more")
        await host.rollback("cups")
        await host.undeploy("cups")
        assert await told(host) == [
            ("deploy", "cups", "1.0.0", "ada"),
            ("deploy", "cups", "1.1.0", "cell"),
            ("rollback", "cups", "1.0.0", "cell"),
            ("undeploy", "cups", "1.0.0", "cell"),
        ]
        first = (await host.audit())[0]
        assert (first.address, first.n) == ("cell 4", 1)
        assert first.digest == Source.of("cups", "1.0.0", CUP).digest
        assert first.time.endswith("Z")


async def test_a_migration_and_a_reset_are_told_with_what_they_did():
    async with memory_host() as host:
        await host.deploy("cups", "1.0.0", CUP)
        await host.create("Cup", size=3)
        await host.deploy("cups", "2.0.0", MIGRATED)
        await host.reset("cups")
        assert [(one.action, one.detail) for one in await host.audit()] == [
            ("deploy", ""),
            ("deploy", ""),
            ("migrate", "1 record migrated"),
            ("reset", ""),
        ]


async def test_a_change_of_several_components_is_told_of_each():
    async with memory_host() as host:
        await host.deploy("cups", "1.0.0", CUP)
        mug = Source.of("mugs", "1.0.0", CUP.replace("cups", "mugs").replace("Cup", "Mug"))
        await host.change(Change(sources=(mug,), gone=frozenset({"cups"})), who="watch")
        assert await told(host, after=1) == [
            ("deploy", "mugs", "1.0.0", "watch"),
            ("undeploy", "cups", "1.0.0", "watch"),
        ]


async def test_a_split_is_told_from_its_begin_to_its_end():
    async with memory_host() as host:
        await host.deploy("cups", "1.0.0", CUP)
        for version in ("1.1.0", "1.2.0"):
            await host.split(Source.of("cups", version, CUP), weight=10)
            await host.split("cups", weight=50)
            await (host.drop("cups") if version == "1.1.0" else host.promote("cups", who="ada"))
        assert [(one.action, one.version, one.detail) for one in await host.audit(after=1)] == [
            ("split", "1.1.0", "10 % by record"),
            ("split", "1.1.0", "50 % by record"),
            ("drop", "1.1.0", "50 % by record"),
            ("split", "1.2.0", "10 % by record"),
            ("split", "1.2.0", "50 % by record"),
            ("promote", "1.2.0", ""),
        ]


async def test_what_was_refused_or_not_stored_is_not_told_as_done():
    store = FailingStore()
    async with memory_host(store=store) as host:
        with pytest.raises(ComponentError):
            await host.deploy("cups", "1.0.0", "x = ")
        store.fail_next()
        with pytest.raises(StoreError):
            await host.deploy("cups", "1.0.0", CUP)
        assert await told(host) == []
        await host.deploy("cups", "1.0.0", CUP)
        assert await told(host) == [("deploy", "cups", "1.0.0", "cell")]


async def test_what_comes_over_http_is_told_so():
    async with memory_host() as host:
        SOURCE.set("http")
        await host.deploy("cups", "1.0.0", CUP)
        assert await told(host) == [("deploy", "cups", "1.0.0", "http")]


async def test_the_log_is_read_from_both_ends_and_by_action():
    async with memory_host() as host:
        for n in range(5):
            await host.deploy("cups", f"1.{n}.0", f"{CUP}# {n}")
        await host.rollback("cups")
        assert [one.n for one in await host.audit(2)] == [5, 6]
        assert [one.n for one in await host.audit(2, after=1)] == [2, 3]
        assert [one.n for one in await host.audit(action=Action.ROLLBACK)] == [6]
        with pytest.raises(BadRequestError, match="did you mean 'rollback'"):
            await host.audit(action="rolback")


MOST = 160  # operations on a disk that two deploys and a rollback may take


@pytest.mark.parametrize("k", range(1, MOST, 20))
async def test_a_deployment_and_its_entry_survive_a_crash_together(tmp_path, k):
    for n in range(k, k + 20, 4):
        disk = Disk(tmp_path / f"{n}", fails=n)
        with disk.mounted():
            try:
                async with memory_host(store=SqliteStore(tmp_path / f"{n}")) as host:
                    await host.deploy("cups", "1.0.0", CUP)
                    await host.deploy("cups", "1.1.0", CUP + "# more")
                    await host.rollback("cups")
            except StoreError:
                assert disk.broken
        left = tmp_path / f"left-{n}"
        disk.image(left, random.Random(n))
        store = SqliteStore(left)
        await store.open()
        deployed = [(one.component, one.version) for one in await store.deployments()]
        entries = [(one.about, one.version) for one in await store.audits(None, 10)]
        assert entries == deployed
        assert len(deployed) == 3 or disk.broken
        await store.close()


async def test_two_deploys_and_a_rollback_take_fewer_operations_than_are_tried(tmp_path):
    disk = Disk(tmp_path / "a")
    with disk.mounted():
        async with memory_host(store=SqliteStore(tmp_path / "a")) as host:
            await host.deploy("cups", "1.0.0", CUP)
            await host.deploy("cups", "1.1.0", CUP + "# more")
            await host.rollback("cups")
    assert 50 < disk.operations < MOST
