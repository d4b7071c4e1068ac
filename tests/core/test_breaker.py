"""The breaker against a model that keeps everything it was ever told."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aegis.core.breaker import Breaker, Breaking, State
from aegis.core.errors import InvalidError

NUMBERS = Breaking(window=6, volume=3, threshold=0.5, memory=20.0, pause=5.0, longest=15.0)
OTHERS = [
    NUMBERS,
    Breaking(window=3, volume=2, threshold=1.0, memory=8.0, pause=2.0, longest=2.0),
    Breaking(window=8, volume=5, threshold=0.25, memory=60.0, pause=9.0, longest=60.0),
]


class Told(RuleBasedStateMachine):
    """Attempts begin and end in any order, with any outcome, while time and the numbers change."""

    def __init__(self):
        super().__init__()
        self.breaker = Breaker(NUMBERS)
        self.numbers = NUMBERS
        self.now = 0.0
        self.names = iter(range(10_000))
        self.under_way = []
        self.probe = None
        self.opened = None  # when, while it is not closed
        self.failed_probes = 0
        self.told = []

    @property
    def pause(self):
        return min(self.numbers.pause * 2**self.failed_probes, self.numbers.longest)

    @rule(seconds=st.sampled_from([0.5, 3.0, 5.0, 12.0, 30.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def begins(self):
        who = next(self.names)
        over = self.opened is not None and self.now >= self.opened + self.pause
        wanted = self.opened is None or (over and self.probe is None)
        assert self.breaker.ready(self.now) is wanted
        if wanted:
            probing = self.opened is not None
            assert self.breaker.admit(who) is probing
            self.probe = who if probing else None
            self.under_way.append(who)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), failed=st.booleans())
    def answers(self, data, failed):
        who = data.draw(st.sampled_from(self.under_way))
        changed = self.breaker.heard(self.now, who, failed=failed)
        if self.opened is None:
            self.told.append((self.now, failed))
            by = self.numbers
            recent = [bad for t, bad in self.told[-by.window :] if self.now - t <= by.memory]
            enough = len(recent) >= by.volume
            trips = failed and enough and sum(recent) / len(recent) >= by.threshold
            assert changed is trips
            if trips:
                self.opened, self.failed_probes = self.now, 0
        elif who == self.probe:
            assert changed
            self.probe = None
            if failed:
                self.opened = self.now
                self.failed_probes += 1
            else:
                self.opened, self.told = None, []
        else:
            assert not changed

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def ends(self, data):
        who = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(who)
        assert self.breaker.leave(who) is (self.probe is not None and who == self.probe)
        if who == self.probe:
            self.probe = None

    @rule(numbers=st.sampled_from(OTHERS))
    def is_tuned(self, numbers):
        """The pause begins anew by the new numbers; outcomes that no longer fit are forgotten."""
        assert not self.breaker.tune(numbers)
        self.told = self.told[-min(self.numbers.window, numbers.window) :]
        self.numbers, self.failed_probes = numbers, 0

    @rule()
    def is_turned_off_and_on(self):
        assert self.breaker.tune(None) is (self.opened is not None)
        assert not self.breaker.heard(self.now, "somebody", failed=True)
        assert self.breaker.ready(self.now)
        assert not self.breaker.tune(self.numbers)
        self.opened, self.probe, self.failed_probes, self.told = None, None, 0, []

    @invariant()
    def agrees(self):
        assert (self.breaker.state is State.CLOSED) is (self.opened is None)
        assert self.breaker.probe == self.probe
        if self.breaker.state is State.OPEN:
            assert self.breaker.left(self.now) == max(0.0, self.opened + self.pause - self.now)


TestBreaker = Told.TestCase


def test_what_is_said_goes_over_what_is_usual():
    usual = Breaking(volume=5, pause=1.0)
    assert Breaking.of(said=True, usual=usual) is usual
    assert Breaking.of(said=False, usual=usual) is None
    assert Breaking.of(said={"pause": 2}, usual=usual) == Breaking(volume=5, pause=2.0)


@pytest.mark.parametrize(
    "said",
    [
        {"puase": 1},
        {"pause": "long"},
        {"pause": 0},
        {"volume": 30},
        {"volume": 0},
        {"threshold": 0},
        {"threshold": 1.5},
        {"memory": 0},
        {"pause": 90},
    ],
)
def test_numbers_that_make_no_breaker_are_refused(said):
    with pytest.raises(InvalidError, match="breaker"):
        Breaking.of(said=said)
