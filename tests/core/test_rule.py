"""The markers of fields: what of them is refused at install, and what the others mean."""

from decimal import Decimal

import pytest

from aegis.core.errors import ComponentError, FrozenError, InvalidError
from aegis.testing import load, memory_host

HEAD = """
from decimal import Decimal
from typing import Annotated
import msgspec
from aegis import (
    Meta, Model, derived, encrypted, frozen, frozen_when, private, required_when, unique,
)

class Item(msgspec.Struct):
    price: Decimal
    qty: int = 1

class Marked(msgspec.Struct):
    ssn: Annotated[str, private]
"""
ORDER = (
    HEAD
    + """
class Order(Model, index="number"):
    number: Annotated[str, frozen, unique]
    status: str = "PENDING"
    items: Annotated[list[Item], frozen_when(lambda order: order.status != "PENDING")] = []
    customer_id: str | None = None
    address: Annotated[str | None, required_when(lambda order: order.customer_id is None)] = None
    total: Annotated[
        Decimal, Meta(ge=0), derived(lambda order: sum(i.price * i.qty for i in order.items))
    ] = Decimal(0)
    vat: Annotated[Decimal, derived(lambda order: order.total / 5)] = Decimal(0)
"""
)


def model(text):
    return load(text).models[-1]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("total: Annotated[int, derived(lambda o: 1)]", "Bad.total is derived, so it needs"),
        ("a: Annotated[int, derived(lambda o: 1), frozen] = 0", "derived, so it cannot be frozen"),
        ("a: Annotated[int, derived(3)] = 0", "derived takes a function"),
        ("a: Annotated[str, required_when(lambda o: 1)] = ''", "it must be able to be None"),
        ("a: Annotated[list[str], unique] = []", "Bad.a is unique, which a single value"),
        ("a: list[Annotated[str, private]] = []", "Bad.a: a marker is for the whole field"),
        ("a: Annotated[str, private] | None = None", "Bad.a: a marker is for the whole field"),
        ("a: Marked | None = None", "Bad.a: a marker is for the whole field"),
        ("a: Annotated[str, frozen, frozen_when(lambda o: 1)]", "frozen_when says nothing"),
        ("key: Annotated[str, private]", "Bad.key is private, and an index would keep it"),
        ("key: Annotated[str, encrypted]", "Bad.key is encrypted, and an index would"),
    ],
)
def test_what_a_marker_cannot_mean_is_refused_by_the_field_s_name(field, said):
    index = ', index="key"' if field.startswith("key") else ""
    with pytest.raises(ComponentError) as refused:
        load(f"{HEAD}\nclass Bad(Model{index}):\n    {field}\n")
    assert said in str(refused.value)


def test_a_model_without_markers_has_no_rules():
    assert model("from aegis import Model\nclass Plain(Model):\n    a: int = 1\n").rules is None


def test_markers_combine_with_each_other_and_with_bounds():
    spec = model(ORDER)
    assert spec.rules is not None
    assert (spec.rules.frozen, list(spec.rules.unique)) == (("number",), ["number"])
    assert list(spec.rules.derived) == ["total", "vat"]
    assert spec.schema["properties"]["total"]["minimum"] == 0
    assert "total" not in spec.create.__struct_fields__
    assert "vat" not in spec.patch.__struct_fields__


def test_rules_are_judged_on_the_old_and_the_new_record():
    spec = model(ORDER)
    item = spec.cls.__annotations__ and spec.decoder.decode(
        b'{"number":"1","items":[{"price":"2.5","qty":2}],"address":"x"}'
    )
    old = spec.rules.settled(None, item)
    assert (old.total, old.vat) == (Decimal(5), Decimal(1))
    # Judged on the record as it stands: this very change may still set the items.
    spec.rules.settled(old, old.update(status="PAID", items=[]))
    paid = old.update(status="PAID")
    with pytest.raises(FrozenError, match=r"Order\.items is frozen as") as frozen:
        spec.rules.settled(paid, paid.update(items=[], status="PENDING"))
    assert frozen.value.fields == {"field": "items"}
    with pytest.raises(FrozenError, match=r"Order\.number is frozen"):
        spec.rules.settled(old, old.update(number="2"))
    # On the record as it would be: this very change may take the reason away.
    spec.rules.settled(old, old.update(address=None, customer_id="c"))
    with pytest.raises(InvalidError, match=r"Order\.address is required") as required:
        spec.rules.settled(old, old.update(address=None))
    assert required.value.fields == {"field": "address"}
    # Whatever a caller made of it, a derived field is what it is derived from.
    assert spec.rules.settled(old, old.update(total=Decimal(7))).total == Decimal(5)


def test_a_rule_that_raises_is_named_and_its_words_are_not():
    spec = model(
        HEAD
        + """
def secret(order):
    raise ValueError("planted")
class Order(Model):
    a: Annotated[int, derived(secret)] = 0
"""
    )
    with pytest.raises(InvalidError) as raised:
        spec.rules.settled(None, spec.cls(id="x"))
    assert "Order.a: its rule derived raised ValueError" in str(raised.value)
    assert "planted" not in str(raised.value)


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        ("user = relation(User, via='user_id')", "pass"),
        ("note: str = ''", "visits = relation('Visit', by='user_id', many=True)"),
    ],
)
async def test_no_relation_goes_by_a_sealed_field(mine, others):
    text = f"""
from typing import Annotated
from aegis import Model, private, relation

class User(Model):
    name: str
    {others}

class Visit(Model):
    user_id: Annotated[str, private]
    {mine}
"""
    async with memory_host() as host:
        with pytest.raises(ComponentError, match=r"goes by .*\.Visit\.user_id, which is sealed"):
            await host.deploy("visits", "1.0.0", text)
