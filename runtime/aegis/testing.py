"""For tests of components: a host in memory, a clock whose sleeps take no time, a contract."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from aegis.adapters.cipher import AesCipher, random_key
from aegis.adapters.clock import SystemClock
from aegis.adapters.components.polyglot import PolyglotLoader
from aegis.adapters.storage.datasources.kinds import making
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.vault import AesVault, Keeper, MemoryKeeper
from aegis.core.bundle import Bundle
from aegis.core.caching import Caching
from aegis.core.component import ENCODER, Revision, Source
from aegis.core.keep import Keep
from aegis.core.policy import Policy
from aegis.core.port import REQUIRED
from aegis.core.query import Query, Term, decode_cursor
from aegis.core.record import Record
from aegis.core.signature import Signed
from aegis.core.trust import Trusted
from aegis.engine.host import Host
from aegis.protocols import Analyst, Datasource, Held, Loader, Sighted, Store, Trust, Write


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


class Trusting(Trust):
    """Trusts whatever it is asked about, signed or not: the sources of a test are its own."""

    def trusted(self) -> Trusted:
        """Nothing that could be told."""
        return Trusted()

    def by(self) -> str:
        """Nobody."""
        return ""

    async def check(self, bundle: Bundle, now: datetime) -> Signed | None:
        """No objection."""
        return None


TRUSTING = Trusting()


@asynccontextmanager
async def memory_host(
    *,
    store: Store | None = None,
    clock: SystemClock | None = None,
    values: Mapping[str, Any] | None = None,
    bindings: Mapping[str, str] | None = None,
    grants: Mapping[str, Sequence[str]] | None = None,
    defaults: Policy | None = None,
    recordings: bool = True,
    keep: Keep | None = None,
    keeper: Keeper | None = None,
    datasources: Mapping[str, Callable[[], Datasource]] | None = None,
    stores: Mapping[str, str] | None = None,
    caching: Caching | None = None,
    trust: Trust | None = TRUSTING,
    loader: Loader | None = None,
    **more: Any,
) -> AsyncGenerator[Host]:
    """An open host that keeps everything in memory and closes at the end.

    `defaults` is how ports are attempted of which neither they nor `values` (`ports.timeout`) say
    something. Models that say `store=` are kept in datasources that forget, `datasources` makes
    others, by name; `stores` chooses one by model. `keeper` has the keys of sealed fields. With
    `recordings` what adapters answer is kept, for `host.replay`. `more` goes to the host as it is:
    `sources`, `libraries`, `components`, `lockfile`. Without `trust` all is trusted. A `loader` may
    keep what it compiled of WebAssembly, or give that more: `PolyglotLoader(folder=..., most=...)`.
    """
    known = values or {}
    host = Host(
        store=store or MemoryStore(),
        clock=clock or EagerClock(),
        loader=loader or PolyglotLoader(),
        lookup=lambda key: known.get(key, REQUIRED),
        bindings=bindings,
        grants=grants,
        scratch=MemoryStore,
        cipher=AesCipher(random_key()) if recordings else None,
        vault=AesVault(keeper or MemoryKeeper()),
        defaults=defaults,
        keep=keep,
        caching=caching,
        analyst=_analyst,
        datasources={**making({}, None), **(datasources or {})},
        stores=stores,
        trust=trust,
        **more,
    )
    async with host:
        yield host


def _analyst(store: Sighted) -> Analyst:
    from aegis.adapters.analyst.duckdb import DuckAnalyst

    return DuckAnalyst(store)


def load(text: str, name: str = "sample", version: str = "1.0.0") -> Revision:
    """A component's text as a loaded revision, without a host."""
    return PolyglotLoader().load(Source.of(name, version, textwrap.dedent(text), origin="test"))


NOW = "2026-11-23T10:00:00.000Z"


def _record(id: str, revision: int = 1, *, model: str = "shop.Item", **data: Any) -> Record:
    doc = ENCODER.encode({"id": id, **data})
    return Record(model=model, id=id, revision=revision, created=NOW, updated=NOW, doc=doc)


def _put(key: str, record: Record, expected: int | None = None) -> Write:
    before = record.revision - 1 if expected is None else expected
    return Write(key=key, model=record.model, id=record.id, expected=before, record=record)


def _drop(key: str, id: str, expected: int, model: str = "shop.Item") -> Write:
    return Write(key=key, model=model, id=id, expected=expected, record=None)


class DatasourceContract:
    """What every datasource must do (see protocols.Datasource), as tests for pytest.

    A subclass has async fixtures `datasource`, which gives an open one that is empty, and `other`:
    another connection to the same records. `tries` is how often two writers change one record.
    """

    tries = 500

    async def test_a_new_datasource_is_empty(self, datasource: Datasource) -> None:
        """Nothing is there, and asking for it is no error."""
        assert await datasource.get("shop.Item", "a") is None
        assert await datasource.count("shop.Item") == 0
        assert (await datasource.list("shop.Item", Query())).items == []
        assert [record async for record in datasource.scan("shop.Item")] == []

    async def test_what_is_written_is_read_byte_for_byte(
        self, datasource: Datasource, other: Datasource
    ) -> None:
        """Over each connection, whatever is in it."""
        deep: dict[str, Any] = {"$set": 1, "a.b": [1, 2.5, {"%24": None}], "": True}
        item = _record(
            "ä-1", name="Zoë \0 \U0001f600", total=Decimal("12.50"), n=2**70, at=-0.0, deep=deep
        )
        assert list(await datasource.write([_put("k1", item)])) == [None]
        assert await datasource.get("shop.Item", "ä-1") == item
        assert await other.get("shop.Item", "ä-1") == item
        assert [record async for record in other.scan("shop.Item")] == [item]
        assert await other.get("shop.Other", "ä-1") is None
        assert await other.get("shop.Item", "ä") is None
        assert await other.get("shop.Item", "\ud800") is None

    async def test_ids_are_only_names(self, datasource: Datasource) -> None:
        """None of them leads anywhere else."""
        ids = [
            ".",
            "..",
            "../x",
            "a:b",
            "A",
            "~",
            "%~x",
            "\\",
            "'",
            '"',
            "$ne",
            "é" * 200,
            "x" * 200,
        ]
        records = [_record(id, text=id) for id in ids]
        writes = [_put(f"k{n}", record) for n, record in enumerate(records)]
        assert set(await datasource.write(writes)) == {None}
        for record in records:
            assert await datasource.get("shop.Item", record.id) == record
        assert await datasource.count("shop.Item") == len(ids)
        page = await datasource.list("shop.Item", Query(limit=3))
        assert [one.id for one in page.items] == sorted(ids)[:3]

    async def test_a_write_is_done_only_over_the_revision_it_expects(
        self, datasource: Datasource, other: Datasource
    ) -> None:
        """Else nothing changes, and it hears what is there and who put it there."""
        first, second, late = (
            _record("a", n=1),
            _record("a", 2, n=2),
            _record("a", 2, n=3),
        )
        assert list(await datasource.write([_put("k1", first)])) == [None]
        assert list(await other.write([_put("k2", second)])) == [None]
        for write in (
            _put("k3", late),
            _put("k4", _record("a", n=9)),
            _put("k5", _record("a", 4, n=9)),
            _drop("k6", "a", 1),
        ):
            assert list(await datasource.write([write])) == [Held(second, "k2")]
        absent = [_put("k7", _record("b", 2)), _put("k8", _record("c", 5))]
        assert list(await datasource.write(absent)) == [Held(None), Held(None)]
        assert await datasource.get("shop.Item", "a") == second
        assert await datasource.count("shop.Item") == 1

    async def test_a_write_that_comes_again_is_done_once(
        self, datasource: Datasource, other: Datasource
    ) -> None:
        """By its key, not by what it says: another may have written the very same."""
        first, second = _record("a", n=1), _record("a", 2, n=2)
        put, change, drop = _put("k1", first), _put("k2", second), _drop("k3", "a", 2)
        for write, left in ((put, first), (change, second), (drop, None)):
            for connection in (datasource, other, datasource):
                assert list(await connection.write([write])) == [None]
                assert await other.get("shop.Item", "a") == left
        assert list(await datasource.write([put])) == [None]
        assert list(await other.write([_put("k9", first)])) == [Held(first, "k1")]

    async def test_one_write_that_is_not_done_keeps_no_other_from_being_done(
        self, datasource: Datasource
    ) -> None:
        """What each came to is told in their order."""
        taken = _record("a", n=1)
        await datasource.write([_put("k0", taken)])
        outcomes = await datasource.write(
            [
                _put("k1", _record("b")),
                _put("k2", _record("a", n=2)),
                _drop("k3", "gone", 4),
                _put("k4", _record("c")),
            ]
        )
        assert list(outcomes) == [None, Held(taken, "k0"), None, None]
        assert await datasource.count("shop.Item") == 3

    async def test_pages_joined_are_the_whole(self, datasource: Datasource) -> None:
        """In the order asked for, with the id to break ties."""
        records = [_record(f"{n:02}", total=str(n % 3)) for n in range(10)]
        await datasource.write([_put(f"k{n}", record) for n, record in enumerate(records)])
        for sort, ids in (
            ((), [record.id for record in records]),
            (
                (Term("total", kind="number", descending=True),),
                ["02", "05", "08", "01", "04", "07", "00", "03", "06", "09"],
            ),
        ):
            found: list[str] = []
            query = Query(sort=sort, limit=4)
            while True:
                page = await datasource.list("shop.Item", query)
                found += [item.id for item in page.items]
                if page.next is None:
                    break
                after = decode_cursor(page.next, len(sort) + 1)
                query = msgspec.structs.replace(query, after=after)
            assert found == ids
        where = (Term("total", "1", kind="number", op="ge"),)
        assert await datasource.count("shop.Item", where) == 6

    async def test_only_what_a_component_has_is_cleared(self, datasource: Datasource) -> None:
        """Also where another one's name begins like its own."""
        keys = ["shop.Item", "shop.Other", "shop2.Item", "shop-x.Item"]
        writes = [_put(f"k{key}", _record("a", model=key)) for key in keys]
        await datasource.write(writes)
        assert await datasource.clear("shop") == 2
        assert [await datasource.count(key) for key in keys] == [0, 0, 1, 1]
        assert list(await datasource.write(writes[:1])) == [None]

    async def test_two_connections_that_change_one_record_lose_nothing(
        self, datasource: Datasource, other: Datasource
    ) -> None:
        """Each counts up what it read; who is overtaken reads again."""
        await datasource.write([_put("k", _record("a", n=0))])

        async def count(connection: Datasource, name: str) -> int:
            overtaken = done = 0
            while done < self.tries // 2:
                before = await connection.get("shop.Item", "a")
                assert before is not None
                n = msgspec.json.decode(before.doc)["n"]
                write = _put(f"{name}{done}", _record("a", before.revision + 1, n=n + 1))
                (outcome,) = await connection.write([write])
                if outcome is None:
                    done += 1
                else:
                    assert isinstance(outcome, Held)
                    overtaken += 1
            return overtaken

        await asyncio.gather(count(datasource, "x"), count(other, "y"))
        left = await datasource.get("shop.Item", "a")
        assert left is not None
        whole = self.tries // 2 * 2
        assert (left.revision, msgspec.json.decode(left.doc)["n"]) == (whole + 1, whole)
