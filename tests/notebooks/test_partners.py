"""The sandbox partners keep what a test of durability has to be able to rely on."""

from __future__ import annotations

import concurrent.futures
import socket
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from tests.orders.sandbox import DOES, UNDOES, ask, partners


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "partners.ledger"


@pytest.fixture(scope="module")
def puzzled(tmp_path_factory):
    """Partners who are only ever asked what makes no sense."""
    with partners(tmp_path_factory.mktemp("puzzled") / "partners.ledger") as running:
        yield running


@pytest.fixture
def sandbox(ledger):
    with partners(ledger) as running:
        yield running


def test_a_known_key_gets_the_first_answer_and_has_one_effect(sandbox):
    first = sandbox.post("payment/authorize", "k", order="o", amount="12.50", card="a")
    again = sandbox.post("payment/authorize", "k", order="o", amount="99.00", card="b")
    assert first == again == (200, {"authorization": first[1]["authorization"]})
    assert sandbox.entries("o") == [("payment/authorize", "done"), ("payment/authorize", "repeat")]
    summary = sandbox.summary()
    assert (summary["held"], summary["repeats"], summary["double"]) == ("12.50", 1, 0)


def test_the_same_effect_under_two_keys_is_counted_as_double(sandbox):
    sandbox.post("carrier/ship", "k1", order="o", address="here")
    sandbox.post("carrier/ship", "k2", order="o", address="here")
    assert sandbox.summary()["double"] == 1


def test_doing_again_what_was_taken_back_is_not_double(sandbox):
    sandbox.post("carrier/ship", "k1", order="o")
    sandbox.post("carrier/return_shipment", "k1", order="o")
    sandbox.post("carrier/ship", "k2", order="o")
    assert sandbox.summary()["double"] == 0


def test_every_operation_is_known_and_every_undo_takes_it_back_once(sandbox):
    for operation in DOES:
        assert sandbox.post(operation, operation, order="o", amount="0.00")[0] == 200
    for operation, undo in UNDOES.items():
        assert sandbox.post(undo, operation, order="o") == (200, {})
        assert sandbox.post(undo, operation, order="o") == (200, {})
    assert sandbox.done("o") == list(DOES)
    assert sandbox.undone("o") == list(UNDOES.values())
    assert sandbox.summary()["undone"] == dict.fromkeys(sorted(UNDOES.values()), 1)


def test_an_undo_of_what_never_happened_does_no_harm_and_what_comes_late_is_refused(sandbox):
    assert sandbox.post("payment/void", "k", order="o") == (200, {})
    status, answer = sandbox.post("payment/authorize", "k", order="o", amount="5.00")
    assert (status, list(answer)) == (409, ["declined"])
    assert sandbox.summary()["held"] == "0.00"


def test_a_capture_takes_what_was_authorised_and_nothing_without(sandbox):
    assert sandbox.post("payment/capture", "c0", order="o", amount="7.00")[0] == 409
    sandbox.post("payment/authorize", "a", order="o", amount="5.10")
    assert sandbox.post("payment/capture", "c", order="o")[0] == 200
    assert sandbox.summary()["captured"] == sandbox.summary()["charged"] == "5.10"
    sandbox.post("payment/refund", "c", order="o")
    assert (sandbox.summary()["captured"], sandbox.summary()["charged"]) == ("5.10", "0.00")


def test_a_partner_declines_as_often_as_it_was_told(sandbox):
    sandbox.set("payment", fail="decline", times=1)
    assert sandbox.post("payment/authorize", "k1", order="o", amount="5.00")[0] == 409
    assert sandbox.post("payment/authorize", "k2", order="o", amount="5.00")[0] == 200
    # The answer to the first request stays what it was.
    assert sandbox.post("payment/authorize", "k1", order="o", amount="5.00")[0] == 409


def test_a_partner_in_error_does_nothing_and_a_setting_of_a_partner_spares_its_undo(sandbox):
    sandbox.set("carrier", fail="error")
    assert sandbox.post("carrier/ship", "k", order="o")[0] == 500
    assert sandbox.post("carrier/return_shipment", "k", order="o")[0] == 200
    assert sandbox.done("o") == []
    sandbox.set("carrier/return_shipment", fail="error")
    assert sandbox.post("carrier/return_shipment", "k", order="o")[0] == 500
    sandbox.well()
    assert sandbox.post("carrier/return_shipment", "k", order="o")[0] == 200


def test_a_silent_partner_does_what_it_was_asked_and_never_answers(sandbox):
    sandbox.set("carrier", fail="silent", times=1)
    request = Request(
        f"{sandbox.url}/carrier/ship", b'{"order":"o"}', {"Idempotency-Key": "k"}, method="POST"
    )
    with pytest.raises((TimeoutError, URLError)):
        urlopen(request, timeout=0.3)
    assert sandbox.done("o") == ["carrier/ship"]
    assert sandbox.post("carrier/ship", "k", order="o")[0] == 200
    assert sandbox.done("o") == ["carrier/ship"]


def test_a_slow_partner_keeps_nobody_else_waiting(sandbox):
    sandbox.set("carrier/ship", delay=30)
    with socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2]))) as slow:
        slow.sendall(
            b"POST /carrier/ship HTTP/1.1\r\nIdempotency-Key: k\r\nContent-Length: 13\r\n\r\n"
            b'{"order":"o"}'
        )
        assert sandbox.post("carrier/track", "t", order="o")[0] == 200


def test_a_request_may_come_in_pieces_and_the_next_behind_it(sandbox):
    with socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2]))) as wire:
        wire.settimeout(10)
        text = b"GET /ledger?order=nobody HTTP/1.1\r\n\r\n" * 2
        wire.sendall(text[:9])
        wire.sendall(text[9:])
        answers = b""
        while answers.count(b"[]") < 2:
            answers += wire.recv(4096)
        assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_the_ledger_survives_a_restart_and_a_last_line_that_was_cut_off(ledger):
    with partners(ledger) as sandbox:
        _, first = sandbox.post("payment/authorize", "k", order="o", amount="12.50")
        sandbox.post("payment/authorize", "k", order="o", amount="12.50")
        before = sandbox.summary()
    with ledger.open("ab") as file:
        file.write(b'{"operation":"payment/capt')
    with partners(ledger) as sandbox:
        assert sandbox.summary() == before
        assert sandbox.post("payment/authorize", "k", order="o", amount="12.50") == (200, first)
        assert sandbox.post("payment/capture", "c", order="o")[0] == 200
    with partners(ledger) as sandbox:
        assert sandbox.summary()["captured"] == "12.50"


def test_many_at_once_are_each_done_once(sandbox):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda n: sandbox.post("carrier/ship", f"k{n % 50}", order=f"o{n % 50}"),
                range(200),
            )
        )
    assert {status for status, _ in answers} == {200}
    summary = sandbox.summary()
    assert summary["effects"] == {"carrier/ship": 50}
    assert (summary["repeats"], summary["double"]) == (150, 0)


def test_totals_can_be_asked_of_some_orders_only(sandbox):
    for order, amount in (("o1", "1.10"), ("o2", "2.20")):
        sandbox.post("payment/authorize", f"a{order}", order=order, amount=amount)
        sandbox.post("payment/capture", f"c{order}", order=order)
    assert sandbox.summary()["captured"] == "3.30"
    assert sandbox.summary(["o2", "unknown"])["captured"] == "2.20"


@pytest.mark.parametrize(
    ("method", "path", "value", "status"),
    [
        ("POST", "/carrier/ship", {}, 400),
        ("POST", "/carrier/ship", [1], 400),
        ("GET", "/carrier/ship", None, 404),
        ("POST", "/carrier/shop", {"order": "o"}, 404),
        ("PUT", "/settings/carter", {}, 404),
        ("PUT", "/settings/carrier", {"fail": "sulk"}, 400),
        ("PUT", "/settings/carrier", {"moody": True}, 400),
        ("POST", "/ledger/summary", {}, 400),
    ],
)
def test_what_makes_no_sense_is_told_so_and_changes_nothing(puzzled, method, path, value, status):
    answer = ask(method, puzzled.url + path, value, {"Idempotency-Key": "k"})
    assert answer[0] == status
    assert answer[1]["error"]
    assert puzzled.summary()["orders"] == 0


def test_a_request_without_a_key_is_refused(puzzled):
    status, answer = ask("POST", f"{puzzled.url}/carrier/ship", {"order": "o"})
    assert (status, answer) == (400, {"error": "an Idempotency-Key is needed"})
    assert puzzled.summary()["orders"] == 0
