"""Pauses between attempts, what may be attempted again, and what the configuration says of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.breaker import Breaking
from aegis.core.errors import ConfigError, InvalidError, PortTimeoutError
from aegis.core.policy import Policies, Policy, spelled, usual

QUIET = lambda: 0.0  # noqa: E731 -- dice that take nothing off


def pauses(policy, dice=QUIET):
    found = []
    while (pause := policy.pause(len(found) + 1, dice)) is not None:
        found.append(pause)
    return found


def test_pauses_double_up_to_the_most():
    assert pauses(Policy(retries=6, backoff=2, backoff_most=20)) == [2, 4, 8, 16, 20, 20]
    assert pauses(Policy(retries=3, backoff=2, factor=1)) == [2, 2, 2]
    assert pauses(Policy(retries=0)) == []
    assert pauses(Policy(retries=3, backoff=0)) == [0, 0, 0]


def test_a_first_pause_above_the_most_stays_what_was_said():
    assert pauses(Policy(retries=3, backoff=90, backoff_most=60)) == [90, 90, 90]


def test_attempts_without_number_do_not_overflow():
    assert Policy(retries=10**6).pause(10**6, QUIET) == 60.0
    assert Policy(retries=10**6, backoff=0).pause(10**6, QUIET) == 0.0


@given(
    st.integers(1, 40),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1),
    st.floats(0.01, 100),
    st.floats(1, 10),
)
def test_chance_takes_off_its_share_at_most_and_never_adds(
    attempts, shown, jitter, backoff, factor
):
    policy = Policy(retries=40, backoff=backoff, factor=factor, jitter=jitter)
    whole = policy.pause(attempts, QUIET)
    pause = policy.pause(attempts, lambda: shown)
    assert whole * (1 - jitter) <= pause <= whole <= max(60.0, backoff)


def test_what_may_be_attempted_again_is_said_by_types_or_a_function():
    assert Policy().may_retry(ValueError())
    assert not Policy(retry_if=ConnectionError).may_retry(ValueError())
    both = Policy(retry_if=(ConnectionError, TimeoutError))
    assert both.may_retry(ConnectionResetError())
    assert both.may_retry(PortTimeoutError("charge gave no answer within 5 s"))
    busy = Policy(retry_if=lambda error: "busy" in str(error))
    assert busy.may_retry(ValueError("busy"))
    assert not busy.may_retry(ValueError("no"))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"timeout": float("nan")}, "timeout must be above 0"),
        ({"timeout": float("inf")}, "a year at most"),
        ({"backoff": 1e9}, "backoff must be 0 seconds to a year"),
        ({"backoff_most": float("inf")}, "a year at most"),
        ({"factor": 0.5}, "factor must be 1 to 1000"),
        ({"factor": float("inf")}, "factor must be 1 to 1000"),
        ({"backoff_most": 0}, "backoff_most must be above 0"),
        ({"jitter": 1.5}, "jitter is a share"),
        ({"jitter": -0.1}, "jitter is a share"),
        ({"retry_if": "always"}, "retry_if must be a function"),
        ({"retry_if": (ValueError, int)}, "retry_if must be a function"),
    ],
)
@pytest.mark.parametrize("kind", [Policy, Policies])
def test_what_makes_no_sense_is_refused(kind, said, words):
    with pytest.raises(InvalidError, match=words):
        kind(**said)


def test_what_was_said_goes_over_what_is_usual():
    base = Policy(timeout=5, retries=1, breaker=Breaking(volume=5))
    assert Policies().over(base) is base
    assert Policies(retries=0).over(base) == Policy(timeout=5, retries=0, breaker=base.breaker)
    assert Policies(breaker=False).over(base).breaker is None
    assert Policies(breaker={"pause": 1}).over(base).breaker == Breaking(volume=5, pause=1)


def test_the_configuration_goes_over_what_is_usual_by_key_and_takes_text():
    said = {"timeout": "5", "retries": 1, "breaker": {"pause": 2, "volume": 4}}
    assert usual(said, Policy()) == Policy(
        timeout=5, retries=1, breaker=Breaking(pause=2, volume=4)
    )
    one = usual({"breaker": {"pause": 2, "volume": 4}, "breaker.pause": "3"}, Policy())
    assert one.breaker == Breaking(pause=3, volume=4)
    assert usual({"breaker": "false", "breaker.pause": 3}, Policy()).breaker is None
    assert usual({"breaker": True}, Policy(breaker=None)).breaker == Breaking()
    assert usual({}, Policy(retries=9)) == Policy(retries=9)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"timeout": "soon"}, r"ports\.timeout"),
        ({"timeout": 0}, r"ports: timeout must be above 0"),
        ({"retries": 1.5}, r"ports\.retries"),
        ({"breaker": 5}, r"ports\.breaker"),
        ({"breaker": {"puase": 5}}, r"ports: breaker.*puase"),
        ({"breaker.volume": 50}, r"ports: a breaker's volume"),
        ({"breaker.volume": "many"}, r"ports\.breaker\.volume"),
    ],
)
def test_a_wrong_value_of_the_configuration_is_refused_by_name(said, words):
    with pytest.raises(ConfigError, match=words):
        usual(said, Policy())


def test_tables_are_spelled_by_dotted_keys():
    assert spelled(
        {"ports": {"timeout": 5, "breaker": {"pause": 2}}, "payments.key": {"a": 1}}
    ) == {
        "ports.timeout": 5,
        "ports.breaker": True,
        "ports.breaker.pause": 2,
        "payments.key": {"a": 1},
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ports.timout": 5}, r"ports\.timout is no setting.*'timeout'"),
        ({"ports": {"retry": 5}}, r"ports\.retry is no setting.*'retries'"),
        ({"ports.breaker": {"puase": 5}}, r"ports\.breaker\.puase is no setting.*'breaker\.pause'"),
        ({"ports": 5}, "ports is no setting"),
    ],
)
def test_a_key_that_is_none_is_refused_with_the_closest(values, words):
    with pytest.raises(ConfigError, match=words):
        spelled(values)
