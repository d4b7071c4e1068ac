"""A query of the embedded store takes the index its model declares; values never get into it."""

import pytest

from aegis.adapters.storage import lock, selection, sqlite
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.query import Query
from aegis.core.reading import Reading
from aegis.core.record import Record
from aegis.protocols import Commit, Drop, Put
from aegis.testing import memory_host
from tests.contracts.asked import COLUMNS

INDEXES = ("name,total", "-_created", "place.city", "at")


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(tmp_path)
    await store.open()
    yield store
    await store.close()


async def indexed(store, *spelled):
    await store.index("m", {"m.Thing": [COLUMNS.sort(one) for one in spelled]})


def plan(store, *, sort=None, after=None, **fields):
    where = Reading(COLUMNS).where((), fields)
    query = Query(where=where, sort=COLUMNS.sort(sort), limit=50, after=after)
    sql, bound = selection.statement("m.Thing", query)
    return [row[3] for row in store._writer.execute(f"EXPLAIN QUERY PLAN {sql}", bound)]


def names(store):
    sql = "SELECT name FROM sqlite_master WHERE name LIKE 'query %' ORDER BY name"
    return [name for (name,) in store._writer.execute(sql)]


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({"name": "a", "sort": "total"}, "name,total"),
        ({"name": "a", "total__ge": 100, "sort": "total"}, "name,total"),
        ({"name__in": ["a", "b"]}, "name,total"),
        ({"name__prefix": "a"}, "name,total"),
        ({"name": None}, "name,total"),
        ({"sort": "-_created"}, "-_created"),
        ({"paid": True, "sort": "-_created"}, "-_created"),
        ({"place__city": "Wien"}, "place.city"),
        ({"at__ge": "2026-01-01T00:00:00Z", "sort": "at"}, "at"),
    ],
    ids=str,
)
async def test_a_query_is_looked_up_by_the_index_and_never_sorted(store, asked, index):
    await indexed(store, *INDEXES)
    (step,) = plan(store, **asked)[:1]
    assert step.startswith(f"SEARCH records USING INDEX query m.Thing {index} (")
    sorted_ = [step for step in plan(store, **asked) if "TEMP B-TREE" in step]
    assert not (sorted_ and "sort" in asked)


async def test_a_page_by_id_takes_no_index_and_is_not_sorted(store):
    await indexed(store, *INDEXES)
    assert plan(store) == ["SEARCH records USING PRIMARY KEY (model=?)"]


@pytest.mark.parametrize(
    ("asked", "looked_up"),
    [
        ({"name": "a", "sort": "total", "after": (9.5, "x")}, "name,total (model=? AND <expr>=? AND <expr>>?)"),
        ({"sort": "-_created", "after": ("2026", "x")}, "-_created (model=? AND created<?)"),
        ({"sort": "at", "after": (5, "x")}, "at (model=? AND <expr>>?)"),
    ],
    ids=["total", "created", "at"],
)  # fmt: skip
async def test_the_next_page_begins_where_the_one_before_ended(store, asked, looked_up):
    await indexed(store, *INDEXES)
    assert plan(store, **asked) == [f"SEARCH records USING INDEX query m.Thing {looked_up}"]


async def test_without_an_index_the_model_s_records_are_looked_through(store):
    assert plan(store, name="a", sort="total") == [
        "SEARCH records USING PRIMARY KEY (model=?)",
        "USE TEMP B-TREE FOR ORDER BY",
    ]


async def test_indexes_that_are_wanted_no_more_are_dropped_and_others_left_alone(store):
    await indexed(store, *INDEXES)
    await store.index("mm", {"mm.Thing": [COLUMNS.sort("name")]})
    await indexed(store, "name,total", "n")
    assert names(store) == ["query m.Thing n", "query m.Thing name,total", "query mm.Thing name"]
    kept = store._writer.execute("SELECT rootpage FROM sqlite_master WHERE name LIKE '%total'")
    before = kept.fetchone()
    await indexed(store, "name,total")
    assert names(store) == ["query m.Thing name,total", "query mm.Thing name"]
    kept = store._writer.execute("SELECT rootpage FROM sqlite_master WHERE name LIKE '%total'")
    assert kept.fetchone() == before  # not made anew
    await indexed(store)
    assert names(store) == ["query mm.Thing name"]


async def test_no_value_gets_into_the_statement(store):
    for value in ("' OR 1 --", '"', "%", "\\"):
        for op in ("eq", "ne", "lt", "prefix", "contains"):
            where = Reading(COLUMNS).where((), {f"name__{op}": value})
            sql, bound = selection.statement("m.Thing", Query(where=where))
            assert value in bound
            other = Reading(COLUMNS).where((), {f"name__{op}": "x"})
            assert sql == selection.statement("m.Thing", Query(where=other))[0]


def named_x(id):
    doc = b'{"id":"%b","name":"x"}' % id.encode()
    return Record(model="m.Thing", id=id, revision=1, created="", updated="", doc=doc)


async def damaged(directory):
    """A store with an index, one of whose records is no JSON any more."""
    store = SqliteStore(directory)
    await store.open()
    await indexed(store, "name", "n")
    await store.commit(Commit(puts=[Put(named_x(id), 0) for id in "abcd"]))
    await store.close()
    file = directory / sqlite.NAME
    file.write_bytes(file.read_bytes().replace(b'{"id":"b"', b'#"id":"b"'))
    return SqliteStore(directory)


async def test_a_damaged_record_can_be_deleted_though_an_index_cannot_read_it(tmp_path, caplog):
    store = await damaged(tmp_path)
    await store.open()
    await store.commit(Commit(drops=[Drop("m.Thing", "b", 1)]))
    assert names(store) == []
    assert "query m.Thing name" in caplog.text
    found = await store.list("m.Thing", Query(where=Reading(COLUMNS).where((), {"name": "x"})))
    assert [item.id for item in found.items] == ["a", "c", "d"]
    await indexed(store, "name")
    assert names(store) == ["query m.Thing name"]
    await store.close()


async def test_a_damaged_record_keeps_no_component_from_its_deploy(tmp_path, caplog):
    store = await damaged(tmp_path)
    await store.open()
    await indexed(store, "name", "n", "paid")
    assert names(store) == ["query m.Thing n", "query m.Thing name"]
    assert "there is no index 'query m.Thing paid'" in caplog.text
    await store.close()


async def test_after_a_crash_a_damaged_record_costs_the_indexes_and_not_the_start(tmp_path):
    store = await damaged(tmp_path)
    (tmp_path / lock.NAME).write_text("{}")  # somebody did not let go of the directory
    await store.open()
    assert names(store) == []
    assert store.get("m.Thing", "a") is not None
    await store.close()


TEXT = """
from decimal import Decimal
from aegis import Model

class Thing(Model, endpoint="things", index=INDEX):
    name: str
    total: Decimal = Decimal(0)
"""


async def test_a_deploy_makes_the_indexes_and_the_next_one_drops_them(tmp_path):
    store = SqliteStore(tmp_path)
    async with memory_host(store=store) as host:
        await host.deploy("m", "1.0.0", TEXT.replace("INDEX", '("name,-total", "total")'))
        assert names(store) == ["query m.Thing name,-total", "query m.Thing total"]
        await host.deploy("m", "1.1.0", TEXT.replace("INDEX", '"total"'))
        assert names(store) == ["query m.Thing total"]
        await host.deploy("m", "1.2.0", TEXT.replace(", index=INDEX", ""))
        assert names(store) == []


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ('"nam"', "did you mean 'name'?"),
        ('("name,", "")', "index '' names no field"),
        ("(7,)", "index 7 names no field"),
    ],
)
async def test_an_index_of_no_field_is_a_problem_at_install(index, said):
    async with memory_host() as host:
        with pytest.raises(Exception, match="Thing: index") as refused:
            await host.deploy("m", "1.0.0", TEXT.replace("INDEX", index))
        assert said in str(refused.value)
