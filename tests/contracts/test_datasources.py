"""The datasources that come with Aegis keep the contract, and mean the same by a question."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap

import duckdb
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aegis.adapters.storage.datasources.duckdb import DuckDatasource
from aegis.adapters.storage.datasources.files import FilesDatasource
from aegis.adapters.storage.datasources.kinds import making
from aegis.adapters.storage.datasources.memory import MemoryDatasource
from aegis.adapters.storage.datasources.mongo import MongoDatasource
from aegis.adapters.storage.datasources.sqlite import SqliteDatasource
from aegis.core.component import ENCODER
from aegis.core.errors import ConfigError, CorruptError, DatasourceError, InvalidError, OwnedError
from aegis.core.query import Query
from aegis.core.reading import Reading
from aegis.core.record import Record
from aegis.protocols import Held, Write
from aegis.testing import DatasourceContract
from tests.contracts import asked
from tests.contracts.mongo import MongoServer, alone

TRIES = int(os.environ.get("AEGIS_TRIES", "500"))
NOW = "2026-11-23T10:00:00.000Z"
_numbers = itertools.count()


def record(id, revision=1, *, model="shop.Item", created=NOW, **data):
    doc = ENCODER.encode({"id": id, **data})
    return Record(model=model, id=id, revision=revision, created=created, updated=NOW, doc=doc)


def put(record, expected=0, key=None):
    key = key or f"key-{next(_numbers)}"
    return Write(key=key, model=record.model, id=record.id, expected=expected, record=record)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = MongoServer(tmp_path_factory.mktemp("mongo"))
    server.start()
    yield server
    server.kill()


class Contract(DatasourceContract):
    """The contract, and that questions mean here what they mean in memory."""

    tries = TRIES

    async def test_each_operator_of_each_field_means_what_it_means_in_memory(self, datasource):
        memory = MemoryDatasource()
        things = [
            put(
                record(
                    f"{n:02}",
                    model="shop.Thing",
                    created=f"2026-01-01T00:00:0{n % 3}Z",
                    **{k: v for k, v in asked.data_of(thing).items() if k != "id"},
                )
            )
            for n, thing in enumerate(asked.SAMPLES)
        ]
        assert set(await datasource.write(things)) == {None}
        await memory.write(things)
        await datasource.index("shop", {"shop.Thing": [asked.COLUMNS.sort("name,-n")]})
        for n, fields in enumerate(asked.every_condition()):
            where = Reading(asked.COLUMNS).where((), fields)
            wanted = await memory.count("shop.Thing", where)
            if n % self.sampled:
                continue
            query = Query(where=where, limit=50)
            page = await datasource.list("shop.Thing", query)
            assert page == await memory.list("shop.Thing", query), fields
            if n % (7 * self.sampled) == 0:
                assert await datasource.count("shop.Thing", where) == wanted, fields
        for name, sign in itertools.product(asked.VALUES, ("", "-")):
            sort = asked.COLUMNS.sort(sign + name.replace("__", "."))
            query = Query(sort=sort, limit=5)
            page = await datasource.list("shop.Thing", query)
            assert page == await memory.list("shop.Thing", query), sort
        await datasource.index("shop", {"shop.Thing": []})

    sampled = 1

    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,  # one for each datasource
        ],
    )
    @given(
        steps=st.lists(
            st.tuples(
                st.sampled_from(["a", "b", "ä"]),
                st.sampled_from(["put", "again", "drop", "stale", "clear"]),
                st.integers(0, 3),
            ),
            max_size=12,
        )
    )
    async def test_whatever_is_written_it_is_as_a_dict_would_be(self, datasource, other, steps):
        await datasource.clear("shop")
        model, last = {}, None
        for n, (id, what, value) in enumerate(steps):
            connection = datasource if n % 2 else other
            revision, _ = model.get(id, (0, None))
            if what == "clear":
                assert await connection.clear("shop") == len(model)
                model.clear()
                continue
            if what == "again":
                if last is None:
                    continue
                write, left = last
                if model.get(write.id) == left:
                    assert list(await connection.write([write])) == [None]
                continue
            if what == "drop":
                write = Write(
                    key=f"d{next(_numbers)}",
                    model="shop.Item",
                    id=id,
                    expected=revision,
                    record=None,
                )
                assert list(await connection.write([write])) == [None]
                model.pop(id, None)
                last = (write, None)
            elif what == "put":
                write = put(record(id, revision + 1, n=value), revision)
                assert list(await connection.write([write])) == [None]
                model[id] = (revision + 1, value)
                last = (write, model[id])
            else:
                write = put(record(id, revision + 9, n=value), revision + 8)
                (outcome,) = await connection.write([write])
                assert isinstance(outcome, Held)
                found = outcome.record
                assert (0 if found is None else found.revision) == revision
            for known in ("a", "b", "ä"):
                found = await datasource.get("shop.Item", known)
                there = None if found is None else (found.revision, json.loads(found.doc)["n"])
                assert there == model.get(known)
            assert await other.count("shop.Item") == len(model)


class TestMemory(Contract):
    @pytest.fixture
    def datasource(self):
        return MemoryDatasource()

    @pytest.fixture
    def other(self, datasource):
        return datasource


class TestFiles(Contract):
    sampled = 5  # each question reads all documents

    @pytest_asyncio.fixture
    async def datasource(self, tmp_path):
        datasource = FilesDatasource(tmp_path / "data")
        await datasource.open()
        return datasource

    @pytest_asyncio.fixture
    async def other(self, datasource, tmp_path):
        other = FilesDatasource(tmp_path / "data")
        await other.open()
        return other

    async def test_a_document_is_for_people_and_for_nobody_else(self, datasource, tmp_path):
        await datasource.write([put(record("o-1", name="Zoë"), key="k")])
        file = tmp_path / "data" / "shop" / "Item" / "o-1.json"
        assert json.loads(file.read_text()) == {
            "id": "o-1",
            "name": "Zoë",
            "_meta": {"revision": 1, "created": NOW, "updated": NOW, "write": "k"},
        }
        for path in (file, *file.parents[:3]):
            assert path.stat().st_mode & 0o077 == 0, path

    async def test_what_somebody_edited_by_hand_is_read(self, datasource, tmp_path):
        await datasource.write([put(record("a", n=1))])
        file = tmp_path / "data" / "shop" / "Item" / "a.json"
        data = json.loads(file.read_text())
        data["n"], data["_meta"]["revision"] = 5, 2
        file.write_text(json.dumps(data, indent=2))
        found = await datasource.get("shop.Item", "a")
        assert (found.revision, json.loads(found.doc)) == (2, {"id": "a", "n": 5})

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            '{"id":"a"}',
            '{"id":"b","_meta":{"revision":1,"created":"","updated":""}}',
            '{"id":"a","_meta":{"revision":"1","created":"","updated":""}}',
            "\xff",
            "[" * 100_000,
        ],
        ids=["empty", "torn", "list", "bare", "other", "typed", "bytes", "deep"],
    )
    async def test_what_is_no_document_is_named_and_takes_no_other_down(
        self, datasource, tmp_path, text, caplog
    ):
        good = record("good", n=1)
        await datasource.write([put(record("a", n=1)), put(good)])
        file = tmp_path / "data" / "shop" / "Item" / "a.json"
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(CorruptError, match=str(file)):
            await datasource.get("shop.Item", "a")
        assert await datasource.get("shop.Item", "good") == good
        assert (await datasource.list("shop.Item", Query())).items == [good]
        assert [one async for one in datasource.scan("shop.Item")] == [good]
        assert str(file) in caplog.text
        (outcome,) = await datasource.write([put(record("a", 2, n=2), 1)])
        assert isinstance(outcome, CorruptError)
        assert file.read_bytes() == text.encode("latin-1")

    async def test_a_directory_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(Exception, match="file"):
            await FilesDatasource(tmp_path / "file" / "below").open()


class TestSqlite(Contract):
    @pytest_asyncio.fixture
    async def datasource(self, tmp_path):
        datasource = SqliteDatasource(tmp_path / "data")
        await datasource.open()
        yield datasource
        await datasource.close()

    @pytest_asyncio.fixture
    async def other(self, datasource, tmp_path):
        other = SqliteDatasource(tmp_path / "data")
        await other.open()
        yield other
        await other.close()

    async def test_a_file_that_is_no_database_is_named(self, tmp_path):
        (tmp_path / "records.db").write_bytes(b"no database at all" * 100)
        datasource = SqliteDatasource(tmp_path)
        with pytest.raises(CorruptError, match=r"records\.db"):
            await datasource.open()
        await datasource.close()


class TestDuckdb(Contract):
    sampled = 5

    @pytest_asyncio.fixture
    async def datasource(self, tmp_path):
        datasource = DuckDatasource(tmp_path / "data")
        await datasource.open()
        yield datasource
        await datasource.close()

    @pytest_asyncio.fixture
    async def other(self, datasource, tmp_path):
        other = DuckDatasource(tmp_path / "data")
        await other.open()
        yield other
        await other.close()

    def test_a_file_that_another_process_has_is_named(self, tmp_path):
        db = duckdb.connect(str(tmp_path / "records.duckdb"))
        text = f"""
            import asyncio, pathlib
            from aegis.adapters.storage.datasources.duckdb import DuckDatasource
            asyncio.run(DuckDatasource(pathlib.Path({str(tmp_path)!r})).open())
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(text)],
            capture_output=True,
            text=True,
            check=False,
        )
        db.close()
        assert OwnedError.__name__ in done.stderr
        assert "records.duckdb is open in another process" in done.stderr


class TestMongo(Contract):
    sampled = 3

    @pytest_asyncio.fixture
    async def datasource(self, server):
        datasource = MongoDatasource(server.url, f"db{next(_numbers)}")
        await datasource.open()
        yield datasource
        await datasource.close()

    @pytest_asyncio.fixture
    async def other(self, datasource, server):
        other = MongoDatasource(server.url, datasource._database)
        await other.open()
        yield other
        await other.close()

    def test_a_server_that_is_not_there_is_named_and_its_password_is_not(self):
        async def story():
            datasource = MongoDatasource(
                "mongodb://joe:sesame@127.0.0.1:9/?serverSelectionTimeoutMS=50", "db", name="far"
            )
            await datasource.open()
            with pytest.raises(
                DatasourceError, match=r"'far' at 127\.0\.0\.1:9 does not answer"
            ) as told:
                await datasource.get("shop.Item", "a")
            assert "sesame" not in str(told.value)
            assert told.value.status == 503
            await datasource.close()

        alone(story())

    @pytest.mark.parametrize("url", ["http://x:sesame@y", "mongodb://a:sesame@:b:c", ""])
    def test_a_url_that_is_none_is_refused_without_its_password(self, url):
        with pytest.raises(ConfigError, match="'mongo' is none of MongoDB") as told:
            MongoDatasource(url, "db")
        assert "sesame" not in str(told.value)

    async def test_what_mongodb_cannot_hold_is_refused_and_nothing_else(self, datasource):
        writes = [put(record("a", n=10**40 + 1)), put(record("b", n=1))]
        refused, done = await datasource.write(writes)
        assert isinstance(refused, InvalidError)
        assert "more than 34 digits" in refused.detail
        assert done is None
        assert await datasource.get("shop.Item", "a") is None

    async def test_what_others_left_there_that_is_no_record_is_named(self, datasource):
        await datasource._collection("shop.Item").insert_one({"_id": "x", "n": 1})
        with pytest.raises(CorruptError, match="'x'"):
            await datasource.get("shop.Item", "x")


WRITER = """
import asyncio, json, pathlib, sys
from aegis.core.record import Record
from aegis.protocols import Write
from aegis.adapters.storage.datasources.kinds import making

async def main():
    datasource = making({"d": json.loads(sys.argv[1])}, None)["d"]()
    await datasource.open()
    for n in range(1, 1_000_000):
        record = Record(model="shop.Item", id="a", revision=n, created="t", updated="t",
            doc=b'{"id":"a","n":%d}' % n)
        write = Write(key=f"k{n}", model="shop.Item", id="a", expected=n - 1, record=record)
        (outcome,) = await datasource.write([write])
        assert outcome is None, outcome
        print(n, flush=True)

asyncio.run(main())
"""


async def _left(table):
    datasource = making({"d": table}, None)["d"]()
    await datasource.open()
    left = await datasource.get("shop.Item", "a")
    await datasource.close()
    return left


@pytest.mark.parametrize("kind", ["files", "sqlite", "duckdb", "mongodb"])
def test_what_was_told_done_is_there_after_kill_9(kind, tmp_path):
    server = None
    if kind == "mongodb":
        server = MongoServer(tmp_path / "mongo")
        server.start()
        table = {"kind": kind, "url": server.url, "database": "db"}
    else:
        table = {"kind": kind, "path": str(tmp_path / "data")}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, json.dumps(table)], stdout=subprocess.PIPE, text=True
    )
    with writer:
        told = [writer.stdout.readline() for _ in range(40)]
        os.kill(writer.pid, signal.SIGKILL)
        if server is not None:
            server.kill()
            server.start()
        told += writer.stdout.readlines()
    whole = [int(line) for line in told if line.endswith("\n")]
    left = asyncio.run(_left(table))
    assert left.revision == json.loads(left.doc)["n"]
    assert whole[-1] <= left.revision <= whole[-1] + 1
    if server is not None:
        server.kill()
