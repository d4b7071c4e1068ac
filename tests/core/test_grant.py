"""What a grant says, and what becomes of grants that are given and taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.errors import GrantError, InvalidError
from aegis.core.grant import Access, Grants, Party, read_asks, read_grant, read_thing
from aegis.core.manifest import Exports


@pytest.mark.parametrize(
    "text",
    [
        "orders.Order",
        "orders.Order:read",
        "orders.Order:write",
        "orders:order.*",
        "orders:*",
        "orders:order.paid:write",
        "o-2.Archive",
    ],
)
def test_a_grant_is_written_as_it_is_read(text):
    assert str(read_grant(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "orders", "Order", ".Order", "orders.", "orders.Order:own", "orders:Order"),
        *("orders.a.b", "orders.order.*", "orders.Or der", "orders:order.*:", "Orders.Order"),
        *("a/b.Order", "a.B\n", "a:b.c\n"),
    ],
)
def test_what_is_no_grant_is_refused_with_how_to_write_it(text):
    with pytest.raises(InvalidError, match="write"):
        read_grant(text)


@given(st.text(max_size=30))
def test_any_text_is_a_grant_that_reads_back_or_an_error(text):
    try:
        grant = read_grant(text)
    except InvalidError:
        return
    assert read_grant(str(grant)) == grant


def test_a_name_without_a_right_is_both_and_an_event_is_heard():
    assert read_thing("o", "Order").rights == {"read", "write"}
    assert read_thing("o", "order.*").rights == {"read"}
    assert read_thing("o", "order.*:write").rights == {"write"}


def grants(*texts, user="shipping"):
    return Grants().giving(user, [read_grant(text) for text in texts])


def taking(before, *texts, user="shipping"):
    return before.taking(user, [read_grant(text) for text in texts])


def test_one_right_of_two_can_be_taken():
    left = taking(grants("orders.Order"), "orders.Order:read")
    assert left.kept["shipping"].given == ("orders.Order:write",)
    assert left.gives("shipping", "orders", "Order", "write")
    assert not left.gives("shipping", "orders", "Order", "read")


def test_what_is_taken_of_a_glob_stays_taken_until_it_or_more_is_given():
    left = taking(grants("orders:order.*"), "orders:order.deleted")
    assert left.gives("shipping", "orders", "order.created", "read")
    assert not left.gives("shipping", "orders", "order.deleted", "read")
    again = left.giving("shipping", [read_grant("orders:order.*")])
    assert again.gives("shipping", "orders", "order.deleted", "read")


def test_what_the_configuration_gives_is_taken_and_given_again():
    said = Grants(said={"shipping": ("orders.Order",)})
    left = taking(said, "orders.Order")
    assert not left.gives("shipping", "orders", "Order", "read")
    assert left.giving("shipping", [read_grant("orders.Order")]).gives(
        "shipping", "orders", "Order", "read"
    )


def test_a_glob_that_is_asked_for_needs_one_that_covers_it():
    asks = {"orders": ["order.*"]}
    for text, unmet in (("orders:order.created", 1), ("orders:order.*", 0), ("orders:*", 0)):
        access = Access(users={"shipping": Party(asks=read_asks(asks))}, grants=grants(text))
        assert len(list(access.unmet("shipping"))) == unmet, text


EXPORTED = Exports(models=("Order:read", "Note"), events=("order.*",), adapters=("Card",))
CASES = [
    ("models", "Order", "read", True),
    ("models", "Order", "write", False),
    ("models", "Note", "write", True),
    ("models", "Card", "read", False),
    ("models", "Other", "read", False),
    ("adapters", "Card", "write", True),
    ("adapters", "Order", "write", False),
    ("events", "order.created", "read", True),
    ("events", "order.created", "write", False),
    ("events", "note.created", "read", False),
    ("datasources", "Order", "write", False),
]


@pytest.mark.parametrize(("kind", "what", "right", "may"), CASES)
def test_an_export_is_of_a_kind_and_with_a_right(kind, what, right, may):
    access = Access(owners={"orders": Party(exports=EXPORTED)})
    assert access.may("shipping", "orders", kind, what, right) is may
    assert access.may("orders", "orders", kind, what, right)
    if not may:
        with pytest.raises(GrantError, match=r"shipping may not .* of orders: orders does not"):
            access.check("shipping", "orders", kind, what, right)


@pytest.mark.parametrize("exported", [True, False])
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("granted", [True, False])
def test_all_three_must_say_so(exported, asked, granted):
    access = Access(
        owners={"orders": Party(exports=Exports(models=("Order",) if exported else ()))},
        users={"shipping": Party(asks=read_asks({"orders": ["Order"]} if asked else {}))},
        grants=grants(*(["orders.Order"] if granted else [])),
    )
    assert access.may("shipping", "orders", "models", "Order", "read") is all(
        (exported, asked, granted)
    )


def test_a_revision_is_asked_by_its_label_and_granted_by_its_name():
    access = Access(
        owners={"orders": Party()},
        users={"shipping@1.0.0+ab": Party(asks=read_asks({"orders": ["Order"]}))},
        grants=grants("orders.Order"),
    )
    assert access.may("shipping@1.0.0+ab", "orders", "models", "Order", "read")


def test_what_is_known_is_bounded():
    access = Access(owners={"orders": Party(exports=Exports())})
    for n in range(70_000):
        assert not access.hears("shipping", "orders", f"order.e{n}")
    assert len(access._known) == 65_536
