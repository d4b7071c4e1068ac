"""Events from outside, told twice, at once and over restarts: each is one event."""

from collections import defaultdict

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.engine.life import Life, SlowStore
from tests.examples import machine
from tests.fakes import SteppedClock

SOURCES = ("/ware", "/ware house")
KEYS = ("1", "2", "house 1")


class Inbox(RuleBasedStateMachine):
    """Senders know which id they were answered, and of how many they were answered at all."""

    def __init__(self):
        super().__init__()
        self.answered = defaultdict(set)  # (source, key) -> ids
        self.life = None

    @initialize(turns=st.tuples(st.integers(0, 3), st.integers(0, 3)))
    def begins(self, turns):
        store = SlowStore()
        store.turns = turns
        self.life = Life(store, SteppedClock().now())

    @rule(
        source=st.sampled_from(SOURCES),
        key=st.sampled_from(KEYS),
        times=st.integers(1, 3),
        turns=st.integers(0, 12),
    )
    def told(self, source, key, times, turns):
        """So often at the same moment, and beside those that are under way."""
        for _ in range(times):
            self.life.start(self._publish(source, key), lambda _: None)
        self.life.turn(turns)

    async def _publish(self, source, key):
        id = await self.life.host.publish(
            "parcel.moved", key=key, source=source, by=f"{source}|{key}"
        )
        self.answered[source, key].add(id)

    @rule()
    def told_without_a_key(self):
        """Nobody can know it again."""
        self.life.settle()
        before = self.life.store.last_seq()
        for _ in range(2):
            self.life.run(self.life.host.publish("parcel.moved", source=SOURCES[0]))
        assert self.life.store.last_seq() == before + 2

    @rule()
    def killed(self):
        self.life = Life(self.life.kill(), self.life.clock.now())

    @rule()
    def restarted(self):
        self.life = Life(self.life.close(), self.life.clock.now())

    @invariant()
    def each_is_one_event_whose_id_is_what_its_sender_was_answered(self):
        if self.life is None:
            return
        stored = defaultdict(list)
        for entry in self.life.store._journal:
            if b'"by"' in entry.doc:
                stored[next(pair for pair in _pairs() if _said(*pair) in entry.doc)].append(
                    entry.id
                )
        for pair in _pairs():
            assert len(stored[pair]) <= 1
            assert len(self.answered[pair]) <= 1
            assert self.answered[pair] <= set(stored[pair])

    def teardown(self):
        if self.life is not None:
            try:
                self.life.settle()
                self.each_is_one_event_whose_id_is_what_its_sender_was_answered()
            finally:
                self.life.end()


def _pairs():
    return [(source, key) for source in SOURCES for key in KEYS]


def _said(source, key):
    return f'"by":"{source}|{key}"'.encode()


TestInbox = Inbox.TestCase
TestInbox.settings = machine(30, 30)
