"""A Model is frozen, typed data; update() makes another and writes nothing."""

import copy
import pickle

import msgspec
import pytest

from aegis import Model


class Order(Model, endpoint="orders"):
    customer: str
    total: int = 0
    tags: list[str] = []  # noqa: RUF012 -- every Model gets its own


class Rush(Order):
    by: str = "noon"


def test_a_model_is_made_by_keyword_and_cannot_be_changed():
    order = Order(customer="ann")
    assert (order.id, order.customer, order.total) == ("", "ann", 0)
    with pytest.raises(AttributeError):
        order.total = 1
    with pytest.raises(TypeError):
        Order("ann")
    with pytest.raises(TypeError, match="customer"):
        Order()


def test_update_gives_a_copy_and_leaves_the_original():
    order = Order(id="1", customer="ann")
    changed = order.update(total=5)
    assert (order.total, changed.total, changed.id) == (0, 5, "1")
    assert type(changed) is Order
    with pytest.raises(TypeError, match="totla"):
        order.update(totla=1)


def test_two_records_do_not_share_a_default_list():
    assert Order(customer="a").tags is not Order(customer="b").tags


def test_a_model_may_inherit_another():
    assert Rush(customer="ann").update(by="ten") == Rush(customer="ann", by="ten")


def test_a_model_copies_pickles_and_encodes_as_its_fields():
    order = Order(id="1", customer="ann")
    assert copy.copy(order) == order == pickle.loads(pickle.dumps(order))
    assert msgspec.json.decode(msgspec.json.encode(order)) == {
        "id": "1",
        "customer": "ann",
        "total": 0,
        "tags": [],
    }


def test_the_class_line_takes_endpoint_concurrency_and_index_and_nothing_else():
    with pytest.raises(
        TypeError, match="takes endpoint=, concurrency=, index=, store= and cache=, not frozen="
    ):

        class Bad(Model, frozen=False): ...

    with pytest.raises(TypeError, match="'etag' or 'last-wins'"):

        class Worse(Model, concurrency="none"): ...
