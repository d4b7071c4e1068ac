"""A description that is wrong is refused by name; one that is right is a component like others."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.core.component import Revision
from aegis.core.description import Description, read_description
from aegis.core.errors import ComponentError
from aegis.testing import PolyglotLoader
from tests.wasm.modules import module, source

FULL: dict[str, Any] = {
    "name": "shop",
    "version": "1.0.0",
    "doc": "Sells things.",
    "models": {
        "Order": {
            "endpoint": "orders",
            "doc": "What somebody wants.",
            "indexes": ["status,-total"],
            "cache": 10,
            "fields": {
                "number": {"type": "string", "pattern": "^N", "unique": True, "frozen": True},
                "total": {"type": "string", "format": "decimal", "minimum": 0, "default": "0.00"},
                "status": {"enum": ["NEW", "DONE"], "default": "NEW"},
                "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                "card": {"type": ["string", "null"], "private": True, "default": None},
                "customer_id": {"type": ["string", "null"], "default": None},
                "address": {
                    "type": "object",
                    "properties": {"street": {"type": "string"}, "zip": {"type": "string"}},
                    "required": ["street"],
                    "default": {"street": "?"},
                },
                "note": {"type": "string", "frozen_when": {"status": "DONE"}, "default": ""},
            },
            "relations": {"customer": {"to": "Customer", "via": "customer_id"}},
            "ports": {
                "ship": {
                    "consumes": ["order.created"],
                    "produces": "order.shipped",
                    "when": {"status": ["NEW"]},
                    "uses": {"carrier": "Carrier"},
                    "timeout": 2,
                    "undo": {"retries": 1},
                    "fallback": {"timeout": 1},
                    "answer": {"events": ["carrier.shipped"]},
                }
            },
            "commands": {"cancel": {"arguments": {"why": {"type": "string"}}}},
        },
        "Customer": {"fields": {"name": {"type": "string"}}},
    },
    "protocols": {"Carrier": {"ship": {"takes": {"id": {"type": "string"}}}}},
    "adapters": {"Van": {"does": ["Carrier"], "config": {"van.key": {"type": "string"}}}},
    "listeners": {"hear": {"on": ["order.*"]}, "nightly": {"cron": "0 3 * * *"}},
    "emits": ["stock.low"],
    "exports": {"models": ["Order"]},
    "grants": {"customers": ["Customer:read"]},
}


def load(description: dict[str, Any]) -> Revision:
    name, version = (str(description.get(key, "shop")) for key in ("name", "version"))
    return PolyglotLoader().load(source(name, module(description), version))


def changed(path: str, value: Any) -> dict[str, Any]:
    """The full description with another value at a path; with None it is left out."""
    said = copy.deepcopy(FULL)
    *way, last = path.split("/")
    place: Any = said
    for name in way:
        place = place.setdefault(name, {})
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return said


ORDER = "models/Order"
FIELD = f"{ORDER}/fields"
SHIP = f"{ORDER}/ports/ship"
WRONG = [
    ("name", "shop\n", "'shop.n' is no name of a component"),
    ("version", "1.0.0\n", "'1.0.0.n' is no version"),
    (f"{FIELD}/id", {"type": "string"}, "Order.id: the host gives a record its id"),
    (f"{FIELD}/update", {"type": "string"}, "Order.update: the name is taken by every model"),
    (f"{FIELD}/class", {"type": "string"}, "Order: 'class': a name is"),
    (f"{FIELD}/a-b", {"type": "string"}, "Order: 'a-b': a name is"),
    (f"{FIELD}/ship", {"type": "string"}, "Order.ship is a field and a port"),
    (f"{FIELD}/total", {"type": "decimal"}, "Order.total: 'decimal' is no type: one of string"),
    (f"{FIELD}/total", {"type": [["string"]]}, r"Order.total: \['string'\] is no type"),
    (f"{FIELD}/total", {"type": "string", "format": "decimall"}, "did you mean 'decimal'?"),
    (f"{FIELD}/total", {"type": "string", "minimum": 1}, "'minimum' says nothing of string"),
    (f"{FIELD}/total", {"type": "integer", "minimum": "1"}, "Order.total: '1' is no bound"),
    (f"{FIELD}/total", {"type": "integer", "multipleOf": 0}, "0 divides nothing"),
    (f"{FIELD}/total", {"type": "integer", "defualt": 1}, "did you mean 'default'?"),
    (f"{FIELD}/total", {"type": "integer", "default": "x"}, "Order.total: its default"),
    (f"{FIELD}/total", {"type": "integer", "minimum": 1, "default": 0}, "its default does not fit"),
    (f"{FIELD}/total", {"type": "string", "minLength": -1}, "-1 is no length"),
    (f"{FIELD}/total", {"type": "string", "pattern": "("}, r"pattern '\(' is none"),
    (f"{FIELD}/total", {"type": "string", "format": "date", "minLength": 3}, "says nothing"),
    (f"{FIELD}/total", {"type": "string", "private": "no"}, "private is true or false"),
    (f"{FIELD}/total", {"enum": []}, "Order.total: enum is a list of values"),
    (f"{FIELD}/total", {"enum": [True]}, "enum has texts and whole numbers, not True"),
    (f"{FIELD}/total", {"enum": [1 << 70]}, "too large a number"),
    (f"{FIELD}/total", {"type": "string", "enum": [1]}, "enum has 1, which is no string"),
    (
        f"{FIELD}/address/properties/zip",
        {"type": "string", "unique": True},
        r"Order.address.zip: 'unique' is for a field of a model",
    ),
    (f"{FIELD}/address/required", ["stret"], "Order.address: required names 'stret'"),
    (f"{FIELD}/address/properties/a b", {}, "Order.address.a b: 'a b' is no name"),
    (f"{FIELD}/tags/items", {"type": "text"}, r"Order.tags\[\]: 'text' is no type"),
    (f"{FIELD}/note/frozen_when", {"statu": "DONE"}, "did you mean 'status'?"),
    (f"{FIELD}/note/frozen_when", {"status": "GONE"}, "'status' cannot be 'GONE'"),
    (f"{FIELD}/note/required_when", {"status": "DONE"}, "Order.note has required_when"),
    (f"{FIELD}/tags/unique", True, "Order.tags is unique, which a single value can be"),
    (f"{ORDER}/indexes", ["nothing"], "Order: index 'nothing'"),
    (f"{ORDER}/indexes", ["card"], "Order.card is private, and an index would keep it"),
    (f"{ORDER}/endpoint", "Orders", "Order: endpoint 'Orders'"),
    (f"{ORDER}/cache", -1, "model Order: cache is a number of records"),
    (f"{ORDER}/concurrency", "none", "concurrency"),
    (f"{ORDER}/migrate", True, "Order says that it migrates"),
    (f"{ORDER}/relations/customer/by", "x", "Order.customer: a relation goes via a field here, or"),
    (f"{ORDER}/relations/customer/via", "custom_id", "did you mean 'customer_id'?"),
    (f"{ORDER}/relations/customer/on_delete", "forget", "on_delete"),
    (f"{SHIP}/consume", ["order.created"], "consume"),
    (f"{SHIP}/consumes", ["Order Created"], "Order.ship: 'Order Created' is no event name"),
    (f"{SHIP}/produces", "shipped", "Order.ship produces 'shipped'"),
    (f"{SHIP}/when", {"state": "NEW"}, "Order.ship when names 'state', which is no field"),
    (f"{SHIP}/when", {"status": "OLD"}, "Order.ship when: 'status' cannot be 'OLD'"),
    (f"{SHIP}/timeout", -1, "Order.ship: timeout must be above 0"),
    (f"{SHIP}/breaker", {"pauze": 1}, "Order.ship: .*pauze"),
    (f"{SHIP}/join", True, "Order.ship joins several events"),
    (f"{SHIP}/undo/breaker", False, "breaker"),
    (f"{SHIP}/undo/retries", -1, "Order.ship: retries must be 0 or more"),
    (f"{SHIP}/answer/events", [], "Order.ship.answer: name the events"),
    (f"{SHIP}/answer/events", ["tracked"], "Order.ship.answer: 'tracked' is no event name"),
    (f"{SHIP}/uses", {"carrier": "Carier"}, "did you mean 'Carrier'?"),
    (f"{SHIP}/uses", {"customer": "Carrier"}, "also a relation"),
    (f"{SHIP}/uses", {"event": "Carrier"}, "the host itself passes it 'event'"),
    (f"{SHIP}/arguments", {"n": {"type": "integer"}}, "no event fills n"),
    (f"{SHIP}/arguments", {"event": {"type": "integer"}}, "Order.ship: the host itself"),
    (f"{ORDER}/commands/cancel/arguments/why", {"type": "?"}, r"Order.cancel.why: '\?' is no"),
    (f"{ORDER}/commands/cancel/produces", "cancel", "Order.cancel produces 'cancel'"),
    ("protocols/Carrier/ship/takes/self", {"type": "string"}, "Carrier.ship: the host itself"),
    ("protocols/Carrier/ship/gives", {"type": "nix"}, "Carrier.ship gives: 'nix' is no type"),
    ("protocols/Carrier/ship/takes/id", {"type": "string", "default": 1}, "Carrier.ship.id: its"),
    ("adapters/Van/does", [], "Van does nothing: name its protocols in does"),
    ("adapters/Van/does", ["Carier"], "Van does Carier, which is no protocol of it"),
    ("adapters/Order", {"does": ["Carrier"]}, "'Order' is called like a model"),
    ("adapters/Van/config/van.key", {"type": "sting"}, "Van config van.key: 'sting' is no type"),
    ("listeners/hear/on", ["Order"], "hear: 'Order' is no event name"),
    ("listeners/hear/every", 60, "hear: on.. takes event names or a schedule"),
    ("listeners/nightly/cron", "at night", "nightly: "),
    ("listeners/hear/order", "any", "order"),
    ("emits", ["low"], "emits: 'low' is no event name"),
    ("exports", {"models": ["Ordr"]}, "did you mean 'Order'?"),
    ("grants", {"customers": ["Customer:rite"]}, "grants: 'Customer:rite' names nothing"),
    ("grants", {"host": ["clock"]}, "what it needs of the host is what it imports"),
    ("http", ["api.example.org"], "'api.example.org' is no origin"),
    ("limits", {"seconds": 0}, "limits.seconds is 0"),
    ("limits", {"seconds": 1e9}, "limits.seconds asks for"),
    ("inline", True, "asks to run inline"),
]


def test_a_full_description_is_a_component_like_others() -> None:
    revision = load(FULL)
    order = revision.by_name["Order"]
    assert order.doc == "What somebody wants."
    assert list(order.ports) == ["ship"]
    assert order.ports["ship"].awaits == {"carrier.shipped"}
    assert [slot.parameter for slot in order.ports["ship"].call.adapters] == ["carrier"]
    assert order.rules is not None
    assert order.rules.private == {"card"}
    assert order.create_decoder.decode(b'{"number": "N1"}').address.zip is None
    assert revision.exports is not None
    assert [str(one) for one in revision.asks or ()] == ["customers.Customer:read"]
    assert {listener.name for listener in revision.listeners} == {"hear", "nightly"}


@pytest.mark.parametrize(("path", "value", "said"), WRONG, ids=[f"{p}-{s}" for p, _, s in WRONG])
def test_what_is_wrong_is_refused_by_name(path: str, value: Any, said: str) -> None:
    with pytest.raises(ComponentError, match=said):
        load(changed(path, value))


def test_two_objects_whose_names_come_to_the_same_are_two() -> None:
    def at(name: str) -> dict[str, Any]:
        return {"type": "object", "properties": {name: {"type": "string"}}}

    fields = {"a_b": at("x"), "a": {"type": "object", "properties": {"b": at("y")}}}
    said = {"name": "two", "version": "1.0.0", "models": {"M": {"fields": fields}}}
    (spec,) = load(said).models
    assert [sorted(one["properties"]) for one in spec.definitions.values()] == [["x"], ["b"], ["y"]]


def test_a_default_is_made_anew_for_each_record() -> None:
    spec = load(FULL).by_name["Order"]
    first, second = (spec.create_decoder.decode(b'{"number": "N1"}') for _ in range(2))
    first.tags.append("x")
    assert second.tags == []
    assert first.address is not second.address


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "items", "a", "default", "enum"]), inner)
    ),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a description."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_stands_anywhere_in_a_description_is_taken_or_refused(data: st.DataObject) -> None:
    said = copy.deepcopy(FULL)
    for _ in range(data.draw(st.integers(1, 3))):
        place, key = data.draw(st.sampled_from(places(said)))
        if isinstance(place, list):
            place[key] = data.draw(VALUES)
        elif data.draw(st.booleans()):
            place[data.draw(st.sampled_from(["class", "id", "x", "type", "default"]))] = place[key]
        else:
            place[key] = data.draw(VALUES)
    with suppress(ComponentError):  # and nothing else
        load(said)


def test_what_a_description_leaves_out_is_empty() -> None:
    said = read_description('{"name": "a", "version": "1.0.0"}', "a")
    assert said == Description(name="a", version="1.0.0")
