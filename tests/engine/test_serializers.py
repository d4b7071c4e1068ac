"""Values of all kinds of types: what is created comes back the same, wherever it went."""

import asyncio
import json
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.api.router import Router
from aegis.core.errors import (
    BadRequestError,
    ComponentError,
    ConflictError,
    CorruptError,
    InvalidError,
)
from aegis.core.event import decode_event
from aegis.core.record import Record
from aegis.protocols import Commit, Put
from aegis.testing import memory_host
from tests.api.conftest import Caller

THINGS = """
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated
from uuid import UUID

import msgspec
from aegis import Meta, Model, Serializer, command, port


@dataclass(frozen=True)
class Money:
    number: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{self.number} {self.currency}"

    @classmethod
    def parse(cls, text: str) -> "Money":
        number, currency = text.split(" ")
        return cls(Decimal(number), currency)


def micros(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def moment(count: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=count)


Amount = Annotated[Money, Serializer(str, Money.parse)]
Moment = Annotated[datetime, Serializer(micros, moment, schema=int, network=datetime)]
Cents = Annotated[
    Decimal,
    Serializer(
        lambda d: int(d * 100),
        lambda n: Decimal(n) / 100,
        schema=int,
        network=Serializer(lambda d: {"eur": str(d)}, lambda o: Decimal(o["eur"]), schema=dict[str, str]),
    ),
    Meta(ge=0),
]


class Kind(Enum):
    SMALL = "small"
    LARGE = "large"


class Line(msgspec.Struct, frozen=True):
    price: Amount
    due: Moment | None = None
    number: int = 1


@dataclass
class Offer:
    price: Amount
    until: date | None = None


class Thing(Model, endpoint="things", index=("price", "-due", "cents")):
    amount: Decimal
    at: datetime
    day: date
    hour: time
    span: timedelta
    blob: bytes
    uid: UUID
    kind: Kind
    tags: set[str]
    pair: tuple[int, str]
    row: tuple[Decimal, ...]
    price: Amount
    due: Moment | None = None
    cents: Cents = Decimal(0)
    line: Line | None = None
    lines: list[Line] = []
    offers: dict[str, Offer] = {}
    wanted: frozenset[Amount] = frozenset()
    both: tuple[Amount, int] | None = None

    @command
    def ask(self, price: Amount, more: int = 0) -> "Thing":
        return self.update(price=Money(price.number + more, price.currency))

    @command
    def spoil(self, what: str) -> "Thing":
        return self.update(price=int(what) if what.isdigit() else what)

    @port(produces="thing.due")
    def delay(self, to: Moment) -> "Thing":
        return self.update(due=to)
"""

DECIMALS = st.decimals(
    allow_nan=False, allow_infinity=False, places=4, min_value=-9999, max_value=9999
)
ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-3))]
)
TIMES = st.datetimes(
    datetime(1900, 1, 1),  # noqa: DTZ001 -- Hypothesis adds the zone
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=ZONES,
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


def values(names):
    """Fields of a Thing, with the classes of a loaded component."""
    money = st.builds(names["Money"], DECIMALS, st.sampled_from(["EUR", "CHF"]))
    line = st.builds(names["Line"], price=money, due=st.none() | TIMES, number=st.integers(0, 9))
    offer = st.builds(names["Offer"], price=money, until=st.none() | st.dates())
    return st.fixed_dictionaries(
        {
            "amount": DECIMALS,
            "at": TIMES,
            "day": st.dates(),
            "hour": st.times(),
            "span": st.timedeltas(timedelta(days=-9000), timedelta(days=9000)),
            "blob": st.binary(max_size=20),
            "uid": st.uuids(),
            "kind": st.sampled_from(names["Kind"]),
            "tags": st.sets(TEXT, max_size=6),
            "pair": st.tuples(st.integers(-(2**60), 2**60), TEXT),
            "row": st.lists(DECIMALS, max_size=3).map(tuple),
            "price": money,
            "due": st.none() | TIMES,
            "cents": st.integers(0, 10**9).map(lambda n: Decimal(n) / 100),
            "line": st.none() | line,
            "lines": st.lists(line, max_size=3),
            "offers": st.dictionaries(TEXT, offer, max_size=3),
            "wanted": st.frozensets(money, max_size=4),
            "both": st.none() | st.tuples(money, st.integers(0, 9)),
        }
    )


# Some classes to make values of; those of a host's own revision are taken from it.
def things(host):
    return host.engine.registry.live["things"].module.__dict__


def fields(thing):
    return {name: value for name, value in msgspec.structs.asdict(thing).items() if name != "id"}


SCALARS = ("amount", "at", "day", "hour", "uid", "kind", "price", "due", "cents")


async def travel(data, where, make):
    """All ways that values go; each must arrive the same. Returns nothing, asserts all."""
    store, other = make(where / "one"), make(where / "other")
    async with memory_host(store=store) as host, memory_host(store=other) as second:
        for one in (host, second):
            await one.deploy("things", "1.0.0", THINGS)
        call = Caller(Router(host, token=None))
        drawn = data.draw(st.lists(values(things(host)), min_size=1, max_size=4))
        made = []
        for given_ in drawn:
            thing = await host.create("Thing", **given_)
            made.append(thing)
            assert fields(thing) == given_
            assert fields(await host.get("Thing", thing.id)) == given_
            host._deploys.records.forget()
            assert fields(await host.get("Thing", thing.id)) == given_
            # What goes out over HTTP comes in again as the same.
            shown = (await call("GET", f"/aegis/api/models/things/{thing.id}")).json
            for name in ("id", "_meta"):
                del shown[name]
            answer = await call("POST", "/aegis/api/models/things", shown)
            assert answer.status == 201, answer.body
            assert fields(await host.get("Thing", answer.json["id"])) == given_
            patched = await call(
                "PATCH",
                f"/aegis/api/models/things/{thing.id}",
                {name: shown[name] for name in ("due", "cents", "lines", "both")},
                if_match='"1"',
            )
            assert (patched.status, patched.headers["ETag"]) == (200, '"1"')  # nothing changed
            for name in SCALARS:
                found = await host.query("Thing", limit=1000, **{name: given_[name]})
                assert thing.id in {one.id for one in found}, name
            then = await host.at(host.store.last_seq(), thing)
            assert fields(then.record) == given_
        # Another host, its own classes: compared by what is stored.
        path = where / "export.ndjson"
        await host.export(str(path), "Thing")
        assert (await second.import_(str(path))).created == 2 * len(made)
        assert (await second.import_(str(path))).known == 2 * len(made)
        spec = second.spec("Thing")
        for thing in made:
            mine = host.engine.get(host.spec("Thing"), thing.id)
            its = second.engine.get(spec, thing.id)
            again = host.spec("Thing").value(its)
            assert fields(again) == fields(host.spec("Thing").value(mine)) == fields(thing)


@pytest.mark.parametrize("make", [lambda _: MemoryStore(), SqliteStore], ids=["memory", "sqlite"])
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_value_of_any_type_comes_back_the_same_from_wherever_it_went(make, data):
    with tempfile.TemporaryDirectory() as where:
        asyncio.run(travel(data, Path(where), make))


@pytest.fixture
async def host():
    async with memory_host() as host:
        await host.deploy("things", "1.0.0", THINGS)
        yield host


@pytest.fixture
def call(host):
    return Caller(Router(host, token=None))


def thing(host, **more):
    names = things(host)
    return {
        "amount": Decimal("1.50"),
        "at": datetime(2026, 11, 23, 10, tzinfo=UTC),
        "day": "2026-11-23",
        "hour": "10:00:00",
        "span": timedelta(hours=1),
        "blob": b"\x00\xff",
        "uid": "12345678-1234-5678-1234-567812345678",
        "kind": names["Kind"].SMALL,
        "tags": {"a"},
        "pair": (1, "x"),
        "row": (Decimal("2.0"),),
        "price": names["Money"](Decimal("5.00"), "EUR"),
        "due": datetime(2026, 11, 23, 10, tzinfo=UTC),
        "cents": Decimal("3.20"),
    } | more


async def test_it_is_stored_in_one_form_and_shown_in_another(host, call):
    made = await host.create("Thing", id="t", **thing(host))
    stored = json.loads(host.engine.get(host.spec("Thing"), made.id).doc)
    assert stored["price"] == "5.00 EUR"
    assert stored["due"] == 1795428000000000
    assert stored["cents"] == 320
    assert (stored["blob"], stored["amount"], stored["span"]) == ("AP8=", "1.50", "PT3600S")
    shown = (await call("GET", "/aegis/api/models/things/t")).json
    assert shown["price"] == "5.00 EUR"
    assert shown["due"] == "2026-11-23T10:00:00Z"
    assert shown["cents"] == {"eur": "3.2"}
    assert shown["_meta"]["revision"] == 1
    listed = (await call("GET", "/aegis/api/models/things?fields=due,cents,id")).json["items"]
    assert listed == [{"due": "2026-11-23T10:00:00Z", "cents": {"eur": "3.2"}, "id": "t"}]
    past = (await call("GET", f"/aegis/api/models/things/t?at={host.store.last_seq()}")).json
    assert past["due"] == "2026-11-23T10:00:00Z"


async def test_an_event_tells_of_a_record_as_it_is_stored(host):
    await host.create("Thing", id="t", **thing(host))
    await host.run("t" and await host.get("Thing", "t"), "delay", to="2027-01-01T00:00:00Z")
    (_, last) = await host.store.events(0, 10)
    assert decode_event(last.doc).data["changed"] == {"due": 1798761600000000}


async def test_callers_ask_and_send_in_the_network_form_or_the_author_s(host, call):
    await host.create("Thing", id="t", **thing(host))
    money = things(host)["Money"]

    async def found(**asked):
        return len(await host.query("Thing", **asked))

    assert await found(price="5.00 EUR") == await found(price=money(Decimal("5.00"), "EUR")) == 1
    assert await found(price__prefix="5.00") == 1
    assert await found(price__in=[money(Decimal(1), "EUR"), "5.00 EUR"]) == 1
    assert await found(due__lt="2026-11-23T11:00:00Z") == 1
    assert await found(due__gt="2026-11-23T11:00:00+01:00") == 0
    assert await found(due__exists=True, cents__ge=Decimal(3)) == 1
    assert await found(cents={"eur": "3.20"}) == 1
    assert await found(line__price="5.00 EUR") == 0

    async def listed(query):
        return len((await call("GET", f"/aegis/api/models/things?{query}")).json["items"])

    assert await listed("price=5.00%20EUR&due.ge=2026-11-23T10:00:00Z&sort=-due") == 1
    assert await listed("due=null") == 0
    wrong = await call("GET", "/aegis/api/models/things?price=five")
    assert (wrong.status, wrong.json["parameter"]) == (400, "price")
    assert "Expected `Money`" in wrong.json["detail"]
    answer = await call("POST", "/aegis/api/models/things/t/commands/ask", {"price": "7 CHF"})
    assert answer.json["price"] == "7 CHF"
    record = await host.call(
        await host.get("Thing", "t"), "ask", price=money(Decimal(1), "X"), more=2
    )
    assert record.price == money(Decimal(3), "X")


@pytest.mark.parametrize(
    ("sent", "pointer", "said"),
    [
        ({"price": "five"}, "/price", "Expected `Money` (ValueError: not enough values"),
        ({"price": 5}, "/price", "Expected `str`, got `int`"),
        ({"due": 5}, "/due", "Expected `datetime | null`, got `int`"),
        ({"line": {"price": "5"}}, "/line/price", "Expected `Money` (ValueError"),
        ({"lines": [{"price": "1 EUR"}, {"price": "x y"}]}, "/lines/1/price", "Expected `Money`"),
        ({"cents": {"eur": "-1"}}, "/cents", ">= 0"),
        ({"cents": {"usd": "1"}}, "/cents", "Expected `Decimal` (KeyError"),
        ({"both": ["1 EUR"]}, "/both", "length 2"),
        ({"wanted": ["1 EUR", "?"]}, "/wanted/1", "Expected `Money`"),
        ({"kind": "huge"}, "/kind", "Invalid enum value"),
        ({"blob": "%"}, "/blob", "base64"),
        ({"span": "long"}, "/span", "ISO8601 duration"),
        ({"uid": "1"}, "/uid", "UUID"),
        ({"prize": "1 EUR"}, "/prize", "unknown field"),
    ],
)
async def test_what_does_not_decode_is_told_by_its_field(host, call, sent, pointer, said):
    await host.create("Thing", id="t", **thing(host))
    answer = await call("PATCH", "/aegis/api/models/things/t", sent, if_match='"1"')
    assert (answer.status, answer.json["pointer"]) == (422, pointer)
    assert said in answer.json["detail"]
    with pytest.raises(InvalidError):
        await host.update(await host.get("Thing", "t"), **sent)
    assert host.engine.get(host.spec("Thing"), "t").revision == 1


async def test_code_that_sets_a_field_to_something_else_is_told_so(host, call):
    await host.create("Thing", id="t", **thing(host))
    for what, said in (("nothing", "Expected `Money`"), ("7", "got `int` - at `$.price`")):
        with pytest.raises(InvalidError, match=r"\$\.price"):
            await host.call(await host.get("Thing", "t"), "spoil", what=what)
        answer = await call("POST", "/aegis/api/models/things/t/commands/spoil", {"what": what})
        assert answer.status == 422, said
    with pytest.raises(InvalidError, match=r"object.* - at `\$\.price`|unsupported"):
        await host.create("Thing", **thing(host, price=object()))


async def test_a_stored_value_that_does_not_decode_is_corrupt_by_name(host, call):
    spec = host.spec("Thing")
    await host.create("Thing", id="t", **thing(host))
    doc = host.engine.get(spec, "t").doc.replace(b'"5.00 EUR"', b'"secret"')
    now = "2026-11-23T10:00:00.000Z"
    bad = Record(model=spec.key, id="bad", revision=1, created=now, updated=now, doc=doc)
    await host.store.commit(Commit(puts=[Put(bad, 0)]))
    with pytest.raises(CorruptError, match=r"things.Thing 'bad' is damaged.*\$\.price") as caught:
        await host.get("Thing", "bad")
    assert "secret" not in str(caught.value)
    answer = await call("GET", "/aegis/api/models/things/bad")
    assert answer.status == CorruptError.status
    assert "'bad'" in answer.json["detail"]
    assert "secret" not in answer.json["detail"]


async def test_a_conflict_is_one_of_values_not_of_objects(host):
    made = await host.create("Thing", id="t", **thing(host))
    await host.update(made, amount=Decimal(9))
    money = things(host)["Money"]
    await host.update(made, price=money(Decimal(8), "EUR"))  # nobody changed that field
    with pytest.raises(ConflictError, match="price changed"):
        await host.update(made, price="9 EUR")


async def test_analysts_see_what_is_stored(host):
    await host.create("Thing", id="t", **thing(host))
    (row,) = (await host.sql("select price, due, cents, amount, blob from things")).rows()
    assert row == ("5.00 EUR", 1795428000000000, 320, Decimal("1.50"), "AP8=")


async def test_the_description_says_the_network_form_and_the_schema_the_stored_one(host, call):
    schemas = (await call("GET", "/aegis/api/openapi.json")).json["components"]["schemas"]
    for name in ("things.Thing", "things.Thing.Create", "things.Thing.Patch"):
        properties = schemas[name]["properties"]
        assert properties["price"]["type"] == "string"
        assert {"type": "integer"} not in properties["due"]["anyOf"]
        assert properties["cents"]["type"] == "object"
    spec = host.spec("Thing")
    assert spec.schema["properties"]["cents"] == {"type": "integer", "default": 0}
    assert {"type": "integer"} in spec.schema["properties"]["due"]["anyOf"]


async def test_the_same_code_loaded_again_fits_its_records_and_another_form_does_not(host):
    await host.create("Thing", id="t", **thing(host))
    await host.deploy("things", "1.0.1", THINGS)
    with pytest.raises(ComponentError, match=r"things.Thing.price has another type"):
        await host.deploy(
            "things",
            "1.1.0",
            THINGS.replace(
                "Serializer(str, Money.parse)",
                "Serializer(lambda m: 1, lambda n: Money(n, 'X'), schema=int)",
            ),
        )
    added = THINGS.replace("    both:", "    fee: Amount = Money(Decimal(1), 'EUR')\n    both:")
    await host.deploy("things", "1.2.0", added)
    assert b'"fee":"1 EUR"' in host.engine.get(host.spec("Thing"), "t").doc
    assert (await host.get("Thing", "t")).fee == things(host)["Money"](Decimal(1), "EUR")


async def test_a_flow_is_replayed_with_its_values(host):
    text = (
        THINGS
        + """
    @port(consumes="thing.created", produces="thing.marked")
    def mark(self) -> "Thing":
        return self.update(price=Money(self.price.number * 2, self.price.currency))
"""
    )
    await host.deploy("things", "1.0.2", text)
    made = await host.create("Thing", id="t", **thing(host))
    for _ in range(100):
        if (await host.get("Thing", "t")).price.number == 10:
            break
        await asyncio.sleep(0.01)
    (flow, _) = (await host.store.flows("things.Thing", made.id))[0]
    replayed = await host.replay(flow.id)
    assert replayed.same, replayed


BAD = [
    ("price: Loose", r"Thing\.price: a type that cannot be stored: JSON has nothing like Loose"),
    ("price: Annotated[Money, Serializer(str, str), Serializer(str, str)]", "two serializers"),
    ("price: Annotated[Money, Serializer(str, Money.parse, network=int)]", "network=int is not"),
    ("price: Annotated[Loose, Serializer(str, Loose)]", "Loose has no __eq__"),
    ("price: Annotated[Money, Serializer(str, Money.parse), Meta(pattern='a')]", "schema="),
    ("price: Annotated[Money, Serializer(str, Money.parse), Meta(ge=0)]", "bounds numbers"),
    ("price: Annotated[Money, Serializer(str, Money.parse)] | int", "can be None, nothing else"),
    ("price: Annotated[Money, Serializer(str, Money.parse, schema=object())]", "Thing"),
    ("price: Annotated[Money, Serializer(5, Money.parse)]", "encode must be a plain function"),
    ("price: Annotated[Money, Serializer(later, Money.parse)]", "encode must be a plain function"),
    (
        "price: Annotated[Money, Serializer(bad, Money.parse)] = Money(1)",
        r"Thing\.price: its default",
    ),
    ("price: Named", "no serializer can stand inside Named"),
    ("tree: 'Tree'", "Tree holds itself"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
async def test_a_serializer_that_cannot_be_used_is_refused_at_the_deploy(line, said):
    text = f"""
from dataclasses import dataclass
from typing import Annotated, NamedTuple
from aegis import Meta, Model, Serializer

@dataclass(frozen=True)
class Money:
    number: int
    @classmethod
    def parse(cls, text): return cls(int(text))

class Loose: pass

async def later(value): return ""
def bad(value): raise ValueError(value)

class Named(NamedTuple):
    price: Annotated[Money, Serializer(str, Money.parse)]

@dataclass
class Tree:
    price: Annotated[Money, Serializer(str, Money.parse)]
    more: "list[Tree]"

class Thing(Model):
    {line}
"""
    async with memory_host() as host:
        with pytest.raises(ComponentError, match=said):
            await host.deploy("things", "1.0.0", text)


async def test_bad_queries_name_the_field(host):
    for asked in ({"price": 5}, {"due": "soon"}, {"cents": "3"}, {"wanted__contains": "?"}):
        (name,) = asked
        with pytest.raises(BadRequestError) as caught:
            await host.query("Thing", **asked)
        assert caught.value.fields["parameter"] == name


SEALED = (
    THINGS.split("class Thing(", maxsplit=1)[0]
    + """
from aegis import encrypted, private, unique

class Account(Model, endpoint="accounts", STORE):
    ceiling: Annotated[Amount, private, unique]
    since: Annotated[Moment, encrypted] = moment(0)
    fee: Amount | None = None
"""
)


@pytest.mark.parametrize("where", ["index='fee'", "store='files'"])
async def test_a_serialized_field_may_be_sealed_and_its_model_kept_elsewhere(where):
    async with memory_host() as host:
        await host.deploy("things", "1.0.0", SEALED.replace("STORE", where))
        call = Caller(Router(host, token=None))
        money = things(host)["Money"](Decimal("7.00"), "EUR")
        when = datetime(2026, 11, 23, 10, tzinfo=UTC)
        made = await host.create("Account", id="a", ceiling=money, since=when, fee="1 EUR")
        assert (made.ceiling, made.since) == (money, when)
        assert await host.get("Account", "a") == made
        for asked in (
            {"ceiling": "7.00 EUR"},
            {"ceiling": money},
            {"since": when},
            {"fee": "1 EUR"},
        ):
            assert [one.id for one in await host.query("Account", **asked)] == ["a"]
        shown = (await call("GET", "/aegis/api/models/accounts/a")).json
        assert (shown["since"], shown["fee"]) == ("2026-11-23T10:00:00Z", "1 EUR")
        assert "ceiling" not in shown
        with pytest.raises(ConflictError):
            await host.create("Account", ceiling="7.00 EUR")
        wrong = await call("POST", "/aegis/api/models/accounts", {"ceiling": "secret"})
        assert (wrong.status, wrong.json["pointer"]) == (422, "/ceiling")
        assert b"secret" not in wrong.body
        then = await host.at(host.store.last_seq(), "a", "Account")
        assert then.record == made
