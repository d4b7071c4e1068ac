"""What stays in memory of the records: as much as fits, those used last, and never what was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.adapters.storage.memory import MemoryStore
from aegis.core.caching import Caching
from aegis.core.errors import ComponentError, NotFoundError
from aegis.core.record import Record
from aegis.engine.cache import OVERHEAD, Cache
from aegis.engine.elsewhere import Elsewhere
from aegis.engine.records import Records
from aegis.protocols import Commit, Drop, Put
from aegis.testing import EagerClock, memory_host

ORDER = """
from aegis import Model

class Order(Model, endpoint="orders"):
    note: str = ""
"""
BOTH = """
from aegis import Model

class Order(Model, endpoint="orders", cache=2):
    note: str = ""

class Line(Model, endpoint="lines", cache=0):
    note: str = ""

class Part(Model, endpoint="parts"):
    note: str = ""
"""

IDS = st.integers(0, 9).map(str)
SIZES = st.integers(0, 3000)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("get"), IDS),
        st.tuples(st.just("put"), IDS, SIZES),
        st.tuples(st.just("drop"), IDS),
        st.tuples(st.just("forget")),
    ),
    max_size=60,
)


def record(id, size=10, revision=1):
    return Record(
        model="orders.Order",
        id=id,
        revision=revision,
        created="2026-11-23T10:00:00.000Z",
        updated="2026-11-23T10:00:00.000Z",
        doc=b'{"x":"%b"}' % (b"x" * size),
    )


class Plain:
    """The rule in the plainest words: a list of records, the one used last at its end."""

    def __init__(self, count, size):
        self.count, self.size, self.kept = count, size, []

    @staticmethod
    def weight(record):
        return OVERHEAD + len(record.id) + len(record.doc)

    def drop(self, id):
        self.kept = [one for one in self.kept if one.id != id]

    def use(self, record):
        self.drop(record.id)
        if self.count and self.weight(record) <= self.size:
            self.kept.append(record)
        while len(self.kept) > self.count or sum(map(self.weight, self.kept)) > self.size:
            del self.kept[0]


class Counting(MemoryStore):
    """A store that counts how often it is asked for a record."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def get(self, model, id):
        self.asked += 1
        return super().get(model, id)


@given(steps=STEPS, count=st.integers(0, 5), size=st.integers(0, 8000))
def test_it_holds_what_a_list_of_the_records_used_last_would(steps, count, size):
    store = {}

    class Stored(MemoryStore):
        def get(self, model, id):
            return store.get(id)

    source = Stored()
    elsewhere = Elsewhere(source, EagerClock())
    records = Records(source, Caching(records=count, bytes=size), elsewhere)
    plain = Plain(count, size)
    for number, (what, *said) in enumerate(steps):
        if what == "get":
            assert records.get("orders.Order", said[0]) == store.get(said[0])
            if said[0] in store:
                plain.use(store[said[0]])
        elif what == "put":
            new = store[said[0]] = record(*said, revision=number + 1)
            records.apply(Commit(puts=[Put(new, 0)]))
            plain.use(new)
        elif what == "drop":
            if store.pop(said[0], None) is not None:
                records.apply(Commit(drops=[Drop("orders.Order", said[0], 1)]))
            plain.drop(said[0])
        else:
            records.forget()
            plain.kept.clear()
        (status,) = records.status()
        assert [*records._shared.kept.values()] == plain.kept
        assert status.records == len(plain.kept) <= count
        assert status.bytes == sum(map(plain.weight, plain.kept)) <= size


def test_a_record_that_is_larger_than_the_cache_drives_nobody_out():
    cache = Cache(10, 2000)
    cache.put(("m", "a"), record("a"))
    cache.put(("m", "b"), record("b", 5000))
    assert [*cache.kept] == [("m", "a")]
    cache.put(("m", "a"), record("a", 5000, revision=2))  # and what it replaces is not kept either
    assert (len(cache.kept), cache.bytes) == (0, 0)


async def test_a_model_has_a_cache_of_its_own_or_none_if_it_says_so():
    store = Counting()
    async with memory_host(store=store) as host:
        await host.deploy("orders", "1.0.0", BOTH)
        for model in ("Order", "Line", "Part"):
            for number in range(3):
                await host.create(model, id=f"{number}")
        caches = {cache.model: cache for cache in host.status().caches}
        assert caches.keys() == {None, "orders.Order", "orders.Line"}
        assert {model: cache.records for model, cache in caches.items()} == {
            None: 3,
            "orders.Order": 2,
            "orders.Line": 0,
        }
        assert caches["orders.Order"].evicted == 1
        before = store.asked
        for model in ("Order", "Line", "Part"):
            for _ in range(5):
                await host.get(model, "2")
        assert store.asked == before + 5  # all of them for the Line
        shared = host.status().caches[0]
        assert (shared.hits, shared.hit_rate) == (5, 5 / (5 + shared.misses))


async def test_a_deploy_changes_what_a_model_has_to_itself():
    async with memory_host() as host:
        await host.deploy("orders", "1.0.0", ORDER)
        await host.create("Order", id="1", note="first")
        assert [(one.model, one.records) for one in host.status().caches] == [(None, 1)]
        await host.deploy("orders", "1.0.1", BOTH)
        assert (await host.get("Order", "1")).note == "first"
        assert {one.model: one.records for one in host.status().caches} == {
            None: 0,
            "orders.Line": 0,
            "orders.Order": 1,
        }
        await host.rollback("orders")
        assert [one.model for one in host.status().caches] == [None]
        assert (await host.get("Order", "1")).note == "first"


async def test_the_operator_s_word_goes_before_the_author_s():
    caching = Caching(records=5, models={"orders.Order": 0})
    async with memory_host(caching=caching) as host:
        await host.deploy("orders", "1.0.0", BOTH)
        for number in range(9):
            await host.create("Order", id=f"{number}")
            await host.create("Part", id=f"{number}")
        held = {one.model: one.records for one in host.status().caches}
        assert held == {None: 5, "orders.Order": 0, "orders.Line": 0}


@pytest.mark.parametrize("cache", ["-1", "True", "'many'", "1.5"])
async def test_what_is_no_number_of_records_is_refused(host, cache):
    with pytest.raises(ComponentError, match="model Order: cache is a number of records"):
        await host.deploy("orders", "1.0.0", ORDER.replace('"orders"', f'"orders", cache={cache}'))


async def test_what_others_wrote_is_seen_at_once(host, tmp_path):
    """A command, a patch, a deploy's fill, an import and a reset, each after a read."""
    await host.deploy("orders", "1.0.0", ORDER)
    order = await host.create("Order", id="1", note="a")
    assert (await host.get("Order", "1")).note == "a"
    await host.export(str(tmp_path / "then.ndjson"), "Order")
    await host.update(order, note="b")
    assert (await host.get("Order", "1")).note == "b"
    await host.import_(str(tmp_path / "then.ndjson"), on_conflict="replace")
    assert (await host.get("Order", "1")).note == "a"
    await host.deploy("orders", "1.1.0", ORDER + "    total: int = 7\n")
    assert b'"total":7' in host.engine.get(host.spec("Order"), "1").doc
    await host.reset("orders")
    with pytest.raises(NotFoundError):
        await host.get("Order", "1")
