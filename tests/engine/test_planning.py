"""A plan tells what a deploy would make different, and whom that breaks; nothing changes."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aegis.adapters.graph.svg import render
from aegis.core.comparison import Comparison
from aegis.core.component import Library, Source
from aegis.core.difference import Difference
from aegis.core.errors import ComponentError, NotFoundError
from aegis.core.grant import read_asks
from aegis.core.manifest import Exports, Manifest
from aegis.core.registry import Registry
from aegis.core.schema import narrowed
from aegis.engine.plan import Change
from aegis.testing import load
from tests.engine.shop import TEXT, never, quiet, until

LISTENING = """
from aegis import Event, Model, on, port, relation

class Parcel(Model, endpoint="parcels"):
    order_id: str | None = None
    order = relation("orders.Order", via="order_id")

    @port(consumes="order.packed", by="parcel")
    def wrap(self) -> None: ...

@on("order.sh*")
async def heard(event: Event) -> None: ...
"""


def changed(*pairs):
    text = TEXT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def breaks(plan):
    return [one.text for one in plan.breaks]


async def untouched(host, work):
    before = (
        host.store.last_seq(),
        host.engine,
        host.store.commits,
        await host.store.deployments(),
    )
    found = await work
    after = (host.store.last_seq(), host.engine, host.store.commits, await host.store.deployments())
    assert before == after
    return found


async def test_what_serves_already_is_nothing_to_do(shop):
    plan = await untouched(shop, shop.plan("orders", "1.0.0", TEXT))
    assert plan.is_nothing
    assert plan.fits
    assert str(plan) == "= orders 1.0.0 (this very code serves already)"
    assert (plan.items, plan.breaks, plan.marks) == ((), (), {})


async def test_a_new_component_is_added_with_all_that_is_in_it(shop):
    plan = await untouched(shop, shop.plan("parcels", "1.0.0", LISTENING))
    assert {one.how for one in plan.items if one.component == "parcels"} == {"added"}
    names = {(one.kind, one.name) for one in plan.items}
    assert names >= {
        ("component", "parcels"),
        ("model", "parcels.Parcel"),
        ("port", "parcels.Parcel.wrap"),
        ("relation", "parcels.Parcel.order"),
        ("listener", "parcels.heard"),
        ("event", "order.sh*"),
        ("route", "POST /aegis/api/models/parcels"),
        ("route", "GET /aegis/api/models/parcels/{id}/related/order"),
    }
    assert plan.breaks == ()
    assert not plan.is_nothing


async def test_the_same_code_under_another_version_changes_only_that(shop):
    plan = await untouched(shop, shop.plan("orders", "1.1.0", TEXT))
    (item,) = plan.items
    assert (item.kind, str(item.aspects[0])) == ("component", "version: 1.0.0 -> 1.1.0")
    assert (plan.breaks, plan.marks) == ((), {})


async def test_each_property_of_a_port_is_told_and_code_only_named(shop):
    text = changed(
        ('produces="order.packed", retries=0', 'produces="order.packed", retries=4, by="order"'),
        ('partner.do("pack"', 'partner.do("pack it"'),
    )
    plan = await shop.plan("orders", "1.0.1", text)
    item = next(one for one in plan.items if one.kind == "port")
    assert (item.name, item.node) == ("orders.Order.pack", "port:orders.Order.pack")
    assert str(item) == ("port orders.Order.pack (by: now order; retries: 0 -> 4; code)")
    assert plan.marks == {"port:orders.Order.pack": "changed"}


async def test_code_that_only_moved_is_the_same(shop):
    text = "# a line more\n\n" + TEXT.replace("\n\nclass Order", "\n\n\n\nclass Order")
    plan = await shop.plan("orders", "1.0.0", text)
    assert [one.kind for one in plan.items] == ["component"]


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("def ship(", "def send("), ("@ship.undo", "@send.undo")], "port orders.Order.ship is gone"),
        (
            [
                ("def ship(", "def send("), ("@ship.undo", "@send.undo"),
                ("consumes=pack, produces=", 'consumes=pack, was="ship", produces='),
            ],
            "port orders.Order.ship is called send now: nothing is at .../ports/ship any more",
        ),
        ([("    def approve(", "    def allow(")], "command orders.Order.approve is gone"),
        ([("def approve(self)", "def approve(self, by: str)")],
         "command orders.Order.approve needs by"),
        ([("ge=0", "ge=2")], "field orders.Order.total must be >= 2, was >= 0"),
        ([("ge=0", "gt=0")], "field orders.Order.total must be > 0, was >= 0"),
        ([("    shipped: str | None = None", "    shipped: str = ''"),
          ("shipped=None", "shipped=''")],
         "field orders.Order.shipped takes no null any more"),
        ([('    note: str = ""', "    note: str")],
         "field orders.Order.note is required now to create one"),
        ([('    note: str = ""', "    more: int\n    note: str = ''")],
         "field orders.Order.more is new and required to create one"),
        ([('    note: str = ""', "    note: int = 0"), ('note="canceled"', "note=1")],
         "field orders.Order.note is integer, was string"),
        ([('    note: str = ""\n', ""), ('note="canceled"', "approved=False")],
         "field orders.Order.note is gone"),
        ([('endpoint="orders"', 'endpoint="purchases"')],
         "orders.Order is now at /aegis/api/models/purchases, and was at /aegis/api/models/orders"),
        ([("class Order(Model", "class Purchase(Model"), ('"Order"', '"Purchase"'),
          ("order.created", "purchase.created"), ("order.compensated", "purchase.compensated")],
         "model orders.Order is gone, with all at /aegis/api/models/orders"),
    ],
)  # fmt: skip
async def test_a_breaking_change_is_named_and_a_major_is_asked_for(shop, pairs, said):
    plan = await untouched(shop, shop.plan("orders", "1.4.0", changed(*pairs)))
    assert any(text.startswith(said) for text in breaks(plan)), breaks(plan)
    assert plan.standing[0].needs == "2.0.0"
    assert "semver asks for 2.0.0" in str(plan)
    major = await shop.plan("orders", "2.0.0", changed(*pairs))
    assert breaks(major) == breaks(plan)
    assert major.standing[0].needs is None


@pytest.mark.parametrize(
    "pairs",
    [
        [("ge=0", "ge=-5")],
        [("def approve(self)", 'def approve(self, by: str = "")')],
        [('    note: str = ""', "    more: int = 7\n    note: str = ''")],
        [("consumes=pack,", 'consumes="order.packed",')],
    ],
)
async def test_what_asks_no_more_and_takes_nothing_away_breaks_nobody(shop, pairs):
    plan = await shop.plan("orders", "1.1.0", changed(*pairs))
    assert (plan.breaks, plan.standing[0].needs) == ((), None)


async def test_an_event_that_others_hear_is_missed_by_name(shop):
    await shop.deploy("parcels", "1.0.0", LISTENING)
    text = changed(
        ('produces="order.packed"', 'produces="order.boxed"'),
        ('produces="order.shipped"', 'produces="order.sent"'),
    )
    plan = await shop.plan("orders", "1.1.0", text)
    assert "nobody produces order.packed any more, which parcels.Parcel.wrap hears" in breaks(plan)
    assert "nobody produces order.shipped any more, which parcels.heard hears" in breaks(plan)
    event = next(one for one in plan.items if one.name == "order.packed")
    assert str(event.aspects[0]) == "produced by: no more orders"


async def test_a_component_that_goes_names_who_relates_to_it(shop):
    await shop.deploy("parcels", "1.0.0", LISTENING)
    plan = await untouched(shop, shop.plan(Change(gone=frozenset({"orders"}))))
    assert plan.standing[0].how == "removed"
    assert any("which parcels.Parcel.order relates to" in text for text in breaks(plan))
    assert plan.marks["port:orders.Order.pay"] == plan.marks["model:orders.Order"] == "removed"
    assert plan.marks["event:order.packed"] == "changed"  # parcels hears it still
    with pytest.raises(NotFoundError, match="there is no component 'nobody'"):
        await shop.plan(Change(gone=frozenset({"nobody"})))


def test_exports_grants_and_libraries_are_told_and_a_lost_export_breaks():
    def source(name, version, *, exports=None, grants=None, libraries=()):
        text = f"from aegis import Model\nclass {name.title()}(Model): ...\n"
        manifest = Manifest(name=name, version=version, exports=exports, grants=grants or {})
        made = Source.of(name, version, text, manifest=manifest, libraries=libraries)
        asks = read_asks(grants or {})
        return replace(load(text, name, version), source=made, exports=exports, asks=asks)

    everything = Exports(models=("Item",), events=("item.*",))
    old, new = (
        Library(name="slug", version=version, sha256=version[-1] * 64) for version in ("1.0", "1.1")
    )
    item = source("item", "1.0.0", exports=everything, libraries=(old,))
    cart = source("cart", "1.0.0", grants={"item": ("Item",)})
    before = Registry().with_component(item).with_component(cart)
    fewer = source("item", "1.1.0", exports=Exports(events=("item.*",)), libraries=(new,))
    found = Comparison(before, before.with_component(fewer), ["item"])
    assert [one.text for one in found.breaks] == [
        "model Item is exported no more, which cart was granted"
    ]
    told = [str(one) for one in found.items]
    assert "library slug (version: 1.0 -> 1.1)" in told
    assert "export model Item (offered to others)" in told
    more = source("cart", "1.1.0", grants={"item": ("Item", "item.*")})
    found = Comparison(before, before.with_component(more), ["cart"])
    assert "grant item item.* (asked for)" in [str(one) for one in found.items]
    assert found.breaks == ()


async def test_what_would_refuse_it_is_told_with_the_migration_and_the_flows(shop, desk):
    desk.replies["ship"] = never
    order = await shop.create("Order", total="3")
    await until(lambda: "ship" in desk.told)
    gone = changed(
        ("def ship(", "def send("), ("@ship.undo", "@send.undo"), ("Decimal(1)", "Decimal(2)")
    )
    plan = await untouched(shop, shop.plan("orders", "1.0.0", gone))
    assert not plan.fits
    assert any("1 open flow wait" in problem for problem in plan.problems)
    assert plan.flows[0].moves
    stays = await shop.plan("orders", "1.1.0", gone)
    assert stays.fits
    assert str(stays.flows[0]) == "1 open flow of orders 1.0.0 end on the code they began on"
    migrating = changed(
        ("    status: str", "    stars: int\n    status: str"),
        (
            "    @command\n    def approve",
            """    @classmethod
    def migrate(cls, old: dict) -> "Order":
        return cls(**{**old, "stars": 5})

    @command
    def approve""",
        ),
    )
    plan = await shop.plan("orders", "2.0.0", migrating)
    assert plan.migrations[0].models[0].records == 1
    assert "~ 1 record of orders.Order get another form" in str(plan)
    assert order.id not in str(plan.problems)
    desk.replies.clear()


async def test_code_that_does_not_load_is_an_error_and_leaves_nothing(shop):
    before = len(shop.engine.residents)
    with pytest.raises(ComponentError, match="ZeroDivisionError"):
        await untouched(shop, shop.plan("orders", "1.1.0", TEXT + "\n1 / 0\n"))
    assert len(shop.engine.residents) == before


async def test_a_plan_is_a_value_that_json_holds_and_its_picture_is_always_the_same(shop):
    text = changed(("def ship(", "def send("), ("@ship.undo", "@send.undo"))
    plans = [await shop.plan("orders", "1.1.0", text) for _ in range(2)]
    assert plans[0] == plans[1]
    assert msgspec.json.decode(msgspec.json.encode(plans[0]), type=Difference) == plans[0]
    svg = render(plans[0].graph, marks=plans[0].marks)
    assert svg == render(plans[1].graph, marks=plans[1].marks)
    assert 'class="node port added"' in svg
    assert 'class="node port removed"' in svg
    assert "(removed)</title>" in svg
    # A graph without marks is drawn as ever.
    assert "removed)</title>" not in render(shop.graph())
    await quiet(shop)


SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "integer", "number", "null", "boolean"])},
        optional={
            "minimum": st.integers(-3, 3),
            "exclusiveMaximum": st.integers(-3, 3),
            "maxLength": st.integers(0, 3),
            "enum": st.lists(st.integers(0, 3), min_size=1, max_size=3),
        },
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda ways: {"anyOf": ways}),
        inner.map(lambda item: {"type": "array", "items": item}),
        st.dictionaries(st.sampled_from("ab"), inner).map(
            lambda found: {"type": "object", "properties": found, "required": list(found)}
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCHEMAS, SCHEMAS)
def test_any_two_schemas_compare_and_one_is_never_narrower_than_itself(one, other):
    assert list(narrowed(one, one)) == []
    assert all(isinstance(said, str) and said for said in narrowed(one, other))
