"""What every store must do: inherit StoreContract and give it a `store` fixture."""

import asyncio
import json
import threading
from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aegis.adapters.storage.memory import MemoryStore
from aegis.core.audit import Action, Audit
from aegis.core.component import ENCODER, Source
from aegis.core.deployment import Deployment
from aegis.core.errors import ConflictError, DuplicateError, StoreError
from aegis.core.flow import Flow, FlowState, Step, StepState
from aegis.core.grant import Granted
from aegis.core.query import Every, Not, Query, Term, decode_cursor
from aegis.core.reading import Reading
from aegis.core.record import Record
from aegis.protocols import (
    Answer,
    Claimed,
    Cleared,
    Commit,
    Converted,
    Cursor,
    Drop,
    Entry,
    Failed,
    Fill,
    Former,
    Holding,
    Keeping,
    Kept,
    Old,
    Outgoing,
    Place,
    Put,
    Recording,
    Release,
    Schema,
    Sealed,
    Sent,
    Taken,
    Unclaimed,
)
from tests.contracts import asked

NOW = "2026-11-23T10:00:00.000Z"
LATER = "2026-11-23T11:00:00.000Z"


def record(id, revision=1, *, model="shop.Item", created=NOW, updated=NOW, **data):
    doc = ENCODER.encode({"id": id, **data})
    return Record(model=model, id=id, revision=revision, created=created, updated=updated, doc=doc)


def new(id, **data):
    return Commit(puts=[Put(record(id, **data), 0)])


def entry(id, type="item.created", subject=None, flow=None, cause=None):
    return Entry(id, type, subject, flow, NOW, msgspec.json.encode({"id": id}), 0, cause)


def flow(id, *, state=FlowState.RUNNING, created=NOW, component="shop", **about):
    values = {"model": "shop.Item", "record": "r"} | about
    return Flow(
        id=id,
        root=f"event-{id}",
        component=component,
        version="1.0.0",
        digest="d",
        state=state,
        created=created,
        updated=created,
        **values,
    )


def failure(subscriber, seq, **about):
    values = {"event": f"e{seq}", "subject": None, "error": "no", "attempts": 1} | about
    return Failed(subscriber=subscriber, seq=seq, time=NOW, **values)


def audit(about, **said):
    return Audit(**{"time": NOW, "action": Action.DEPLOY, "about": about} | said)


def step(flow, n, state=StepState.READY):
    return Step(
        flow=flow,
        n=n,
        model="shop.Item",
        port="ship",
        record="r",
        cause="e",
        key=f"{flow}-{n}",
        state=state,
    )


async def pages(store, query, *, model="shop.Item"):
    """The ids of every page, following the cursor as a caller would."""
    found = []
    while True:
        page = await store.list(model, query)
        found.append([item.id for item in page.items])
        if page.next is None:
            return found
        after = decode_cursor(page.next, len(query.sort) + 1)
        query = msgspec.structs.replace(query, after=after)


class StoreContract:
    """Tests of protocols.Store; a subclass has an async fixture `store` that gives an open one."""

    # --- unique fields, and what is sealed beside events

    async def test_a_unique_value_has_one_record_until_that_lets_it_go(self, store):
        def held(key, id):
            return Holding("shop.Item", "sku", key, id)

        def free(key, id):
            return Release("shop.Item", "sku", key, id)

        await store.commit(Commit(held=[held("x", "a")]))
        assert store.holder("shop.Item", "sku", "x") == "a"
        assert store.holder("shop.Item", "other", "x") is None
        await store.commit(Commit(held=[held("x", "a")]))  # it may say so again
        bad = Commit(puts=[Put(record("b"), 0)], held=[held("y", "b"), held("x", "b")])
        with pytest.raises(DuplicateError) as told:
            await store.commit(bad)
        assert told.value.fields == {"model": "shop.Item", "field": "sku"}
        assert "Item" in str(told.value)
        assert store.get("shop.Item", "b") is None
        assert store.holder("shop.Item", "sku", "y") is None
        await store.commit(Commit(released=[free("x", "b")]))  # it is not b's to release
        assert store.holder("shop.Item", "sku", "x") == "a"
        with pytest.raises(DuplicateError):
            await store.commit(Commit(released=[free("x", "b")], held=[held("x", "b")]))
        with pytest.raises(DuplicateError):
            await store.commit(Commit(held=[held("z", "a"), held("z", "b")]))
        # What is released is so first: two records may change places.
        await store.commit(Commit(held=[held("y", "b")]))
        places = Commit(
            released=[free("x", "a"), free("y", "b")], held=[held("y", "a"), held("x", "b")]
        )
        await store.commit(places)
        assert [store.holder("shop.Item", "sku", key) for key in "xyz"] == ["b", "a", None]
        await store.commit(Commit(released=[Release("shop.Item", "sku")]))
        assert [store.holder("shop.Item", "sku", key) for key in "xyz"] == [None, None, None]

    async def test_unique_values_come_and_go_in_the_order_of_their_commits(self, store):
        def held(id):
            return Commit(puts=[Put(record(id), 0)], held=[Holding("shop.Item", "sku", "x", id)])

        def gone(id):
            free = Release("shop.Item", "sku", "x", id)
            return Commit(drops=[Drop("shop.Item", id, 1)], released=[free])

        works = [held("a"), gone("a"), held("b"), gone("b"), held("c"), held("d")]
        found = await asyncio.gather(*map(store.commit, works), return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["int"] * 5 + ["DuplicateError"]
        assert store.holder("shop.Item", "sku", "x") == "c"
        await store.commit(gone("c"))
        assert store.holder("shop.Item", "sku", "x") is None

    async def test_one_of_many_that_want_a_value_gets_it(self, store):
        works = [
            Commit(puts=[Put(record(f"r{n}"), 0)], held=[Holding("shop.Item", "sku", "x", f"r{n}")])
            for n in range(20)
        ]
        found = await asyncio.gather(*map(store.commit, works), return_exceptions=True)
        assert sum(isinstance(one, DuplicateError) for one in found) == 19
        assert await store.count("shop.Item") == 1
        (one,) = (await store.list("shop.Item", Query())).items
        assert store.holder("shop.Item", "sku", "x") == one.id

    async def test_clear_frees_the_values_of_a_component_and_no_others(self, store):
        mail = Holding("mail.Box", "name", "x", "a")
        await store.commit(Commit(held=[Holding("shop.Item", "sku", "x", "a"), mail]))
        await store.clear("shop")
        assert store.holder("shop.Item", "sku", "x") is None
        assert store.holder("mail.Box", "name", "x") == "a"

    async def test_what_is_sealed_beside_an_event_goes_with_it(self, store):
        events = [entry("e1"), entry("e2"), entry("e3")]
        sealed = [Sealed("e1", b"\x00one"), Sealed("e2", b"two")]
        await store.commit(Commit(events=events, sealed=sealed))
        assert [store.sealed(id) for id in ("e1", "e2", "e3")] == [b"\x00one", b"two", None]
        await store.forget_events(0, 1, Kept(frozenset(), frozenset()), 9)
        assert [store.sealed(id) for id in ("e1", "e2")] == [None, b"two"]

    # --- records

    async def test_a_new_store_is_empty(self, store):
        assert store.get("shop.Item", "a") is None
        assert store.last_seq() == 0
        assert await store.count("shop.Item") == 0
        assert (await store.list("shop.Item", Query())).items == []
        assert await store.events(0, 10) == []
        assert await store.open_flows() == []
        assert list(await store.failed()) == list(await store.deployments()) == []

    async def test_what_is_committed_is_read_at_once_and_byte_for_byte(self, store):
        item = record("ä-1", name="Zoë \u0000 \U0001f600", total=Decimal("12.50"))
        await store.commit(Commit(puts=[Put(item, 0)]))
        assert store.get("shop.Item", "ä-1") == item
        assert store.get("shop.Other", "ä-1") is None
        assert await store.count("shop.Item") == 1

    async def test_a_put_replaces_the_revision_it_expects(self, store):
        await store.commit(new("a", color="red"))
        second = record("a", 2, color="blue", updated="2026-11-23T11:00:00.000Z")
        await store.commit(Commit(puts=[Put(second, 1)]))
        assert store.get("shop.Item", "a") == second
        assert await store.count("shop.Item") == 1

    async def test_a_drop_deletes_the_revision_it_expects(self, store):
        await store.commit(new("a"))
        await store.commit(Commit(drops=[Drop("shop.Item", "a", 1)]))
        assert store.get("shop.Item", "a") is None

    @pytest.mark.parametrize(
        "change",
        [
            Put(record("a"), 0),
            Put(record("a", 3), 2),
            Put(record("missing", 2), 1),
            Drop("shop.Item", "a", 2),
            Drop("shop.Item", "missing", 1),
        ],
        ids=["new-but-there", "put-stale", "put-missing", "drop-stale", "drop-missing"],
    )
    async def test_a_conflict_stores_nothing_of_its_commit(self, store, change):
        await store.commit(Commit(puts=[Put(record("a"), 0)], events=[entry("e1")]))
        bad = Commit(
            puts=[Put(record("beside"), 0)],
            events=[entry("e2")],
            flows=[flow("f")],
            steps=[step("f", 1)],
            cursors=[Cursor("mail", 1)],
        )
        (bad.puts if isinstance(change, Put) else bad.drops).append(change)
        with pytest.raises(ConflictError, match=r"shop\.Item (a|missing) "):
            await store.commit(bad)
        assert store.get("shop.Item", "a") == record("a")
        assert store.get("shop.Item", "beside") is None
        assert store.last_seq() == 1
        assert await store.event("e2") is None
        assert await store.flow("f") is None
        assert await store.cursor("mail") is None
        assert await store.commit(Commit(events=[entry("e2")])) == 2

    async def test_an_event_id_is_stored_once(self, store):
        await store.commit(Commit(events=[entry("e1")]))
        with pytest.raises(ConflictError, match="e1"):
            await store.commit(
                Commit(puts=[Put(record("a"), 0)], events=[entry("e2"), entry("e1")])
            )
        assert store.get("shop.Item", "a") is None
        assert store.last_seq() == 1

    async def test_commits_in_flight_follow_each_other_on_one_record(self, store):
        first = store.commit(new("a", n=1))
        second = store.commit(Commit(puts=[Put(record("a", 2, n=2), 1)]))
        third = store.commit(Commit(drops=[Drop("shop.Item", "a", 2)]))
        fourth = store.commit(new("a", n=4))
        for answer in (first, second, third, fourth):
            await answer
        assert store.get("shop.Item", "a") == record("a", n=4)

    async def test_one_of_many_for_the_same_revision_wins(self, store):
        await store.commit(new("a", n=0))
        answers = [store.commit(Commit(puts=[Put(record("a", 2, n=n), 1)])) for n in range(50)]
        outcomes = []
        for answer in answers:
            try:
                outcomes.append(await answer)
            except ConflictError as error:
                outcomes.append(error)
        assert [n for n, one in enumerate(outcomes) if not isinstance(one, ConflictError)] == [0]
        assert store.get("shop.Item", "a") == record("a", 2, n=0)

    async def test_a_record_may_come_and_go_within_a_commit(self, store):
        come_and_go = Commit(puts=[Put(record("a"), 0)], drops=[Drop("shop.Item", "a", 1)])
        await store.commit(come_and_go)
        assert store.get("shop.Item", "a") is None
        await store.commit(new("a"))
        with pytest.raises(ConflictError):
            await store.commit(come_and_go)
        assert store.get("shop.Item", "a") == record("a")

    # --- events

    async def test_events_get_contiguous_seqs_in_their_order(self, store):
        seqs = [
            await answer
            for answer in [
                store.commit(Commit(events=[entry(f"{n}-{m}") for m in range(3)]))
                for n in range(20)
            ]
        ]
        assert seqs == list(range(3, 61, 3))
        stored = await store.events(0, 1000)
        assert [one.seq for one in stored] == list(range(1, 61))
        assert [one.id for one in stored] == [f"{n}-{m}" for n in range(20) for m in range(3)]
        assert store.last_seq() == 60

    async def test_events_are_read_on_from_a_seq(self, store):
        events = [entry(f"e{n}", subject="a", flow="f") for n in range(1, 6)]
        await store.commit(Commit(events=events))
        assert await store.events(2, 2) == [
            msgspec.structs.replace(event, seq=seq)
            for seq, event in ((3, events[2]), (4, events[3]))
        ]
        assert await store.events(5, 2) == []
        assert await store.event("e4") == msgspec.structs.replace(events[3], seq=4)

    async def test_a_commit_without_events_answers_the_last_seq(self, store):
        await store.commit(Commit(events=[entry("e1"), entry("e2")]))
        assert await store.commit(new("a")) == 2
        assert await store.commit(Commit()) == 2

    async def test_the_events_of_a_subject_come_in_order_page_by_page(self, store):
        subjects = ["a", "b", None, "a", "ä", "a", "A", "a"]
        events = [entry(f"e{n}", subject=subject) for n, subject in enumerate(subjects)]
        await store.commit(Commit(events=events))
        assert [one.seq for one in await store.events_of("a", 0, 9)] == [1, 4, 6, 8]
        assert [one.seq for one in await store.events_of("a", 0, 2)] == [1, 4]
        assert [one.seq for one in await store.events_of("a", 4, 2)] == [6, 8]
        assert await store.events_of("a", 8, 2) == await store.events_of("c", 0, 9) == []
        assert await store.events_of("ä", 0, 9) == [msgspec.structs.replace(events[4], seq=5)]

    async def test_what_an_event_led_to_comes_in_order_at_any_remove(self, store):
        causes = {"a": None, "b": "a", "x": None, "c": "b", "d": "a", "y": "x", "e": "c", "z": "?"}
        events = [entry(id, cause=cause) for id, cause in causes.items()]
        await store.commit(Commit(events=events))

        async def led(id, limit=9):
            return [one.id for one in await store.caused_by(id, limit)]

        assert await led("a") == ["a", "b", "c", "d", "e"]
        assert await led("a", 3) == ["a", "b", "c"]
        assert await led("b") == ["b", "c", "e"]
        assert await led("e") == ["e"]
        assert await led("z", 1) == ["z"]
        assert await led("missing") == await led("?") == []
        assert (await store.caused_by("c", 9))[0].cause == "b"

    async def test_a_long_chain_and_a_wide_fan_of_events_are_found_whole(self, store):
        chain = [entry(f"c{n}", cause=f"c{n - 1}") for n in range(1, 2000)]
        fan = [entry(f"f{n}", cause="c0") for n in range(2000)]
        await store.commit(Commit(events=[entry("c0"), *chain, *fan]))
        assert len(await store.caused_by("c0", 10_000)) == 4000
        assert [one.seq for one in await store.caused_by("c0", 3000)] == list(range(1, 3001))
        assert (await store.caused_by("c1500", 9))[-1].id == "c1508"

    # --- what waits, what came from outside, what was recorded

    async def test_an_outside_event_is_taken_under_its_key(self, store):
        assert store.taken("/shop 1") is None
        await store.commit(Commit(taken=[Taken("/shop 1", "e1", NOW), Taken("/shop 2", "e2", NOW)]))
        assert store.taken("/shop 1") == "e1"
        assert store.taken("/shop") is None

    async def test_what_is_unclaimed_comes_oldest_first_until_it_is_claimed(self, store):
        times = {"c": "2026-01-02T00:00:00Z", "b": NOW, "a": NOW}
        waiting = [Unclaimed(id, "item.picked", time) for id, time in times.items()]
        await store.commit(Commit(unclaimed=waiting))
        assert list(await store.unclaimed()) == [waiting[0], waiting[2], waiting[1]]
        await store.commit(Commit(claimed=[Claimed("a"), Claimed("missing")]))
        assert list(await store.unclaimed()) == [waiting[0], waiting[1]]
        late = Unclaimed("d", "item.picked", NOW)
        await store.commit(Commit(unclaimed=[late], claimed=[Claimed("d")]))
        assert list(await store.unclaimed()) == [waiting[0], waiting[1]]

    async def test_recordings_come_by_step_and_attempt_and_are_replaced_by_these(self, store):
        def recording(n, attempt, doc=b"\x00\xff", flow="f"):
            return Recording(flow, n, attempt, NOW, doc)

        await store.commit(
            Commit(
                recordings=[
                    recording(2, 1),
                    recording(10, 1),
                    recording(2, 2),
                    recording(1, 1, flow="g"),
                ]
            )
        )
        await store.commit(Commit(recordings=[recording(2, 2, b"again")]))
        assert list(await store.recordings("f")) == [
            recording(2, 1),
            recording(2, 2, b"again"),
            recording(10, 1),
        ]
        assert list(await store.recordings("h")) == []

    async def test_what_is_outgoing_comes_in_the_order_of_its_commits_until_it_is_sent(self, store):
        def row(key, id="a", model="shop.Item", record=None):
            return Outgoing(
                key=key,
                datasource="shelf",
                model=model,
                id=id,
                expected=1,
                record=record,
                base=b'{"\\u0000":1}',
            )

        full = row("z", record=record("a", 2, name="Zoë \0"))
        await store.commit(Commit(outgoing=[full, row("y")]))
        await store.commit(Commit(outgoing=[row("x"), row("w", model="shop2.Item")]))
        assert list(await store.outgoing()) == [
            full,
            row("y"),
            row("x"),
            row("w", model="shop2.Item"),
        ]
        await store.commit(Commit(sent=[Sent("y"), Sent("unknown")]))
        # What takes another's place stays where that was.
        await store.commit(Commit(outgoing=[row("z", id="b"), row("a")]))
        found = [one.key for one in await store.outgoing()]
        assert found == ["z", "x", "w", "a"]
        await store.clear("shop")
        assert [one.key for one in await store.outgoing()] == ["w"]

    async def test_a_conflict_leaves_nothing_outgoing(self, store):
        gone = Outgoing(key="k", datasource="d", model="m.N", id="n", expected=1, record=None)
        bad = Commit(
            puts=[Put(record("missing", 2), 1)], outgoing=[gone], places=[Place("m.N", "d")]
        )
        with pytest.raises(ConflictError):
            await store.commit(bad)
        assert list(await store.outgoing()) == []
        assert await store.places() == {}

    async def test_places_are_the_last_that_were_said(self, store):
        await store.commit(Commit(places=[Place("shop.Item", "shelf"), Place("shop.Other", "")]))
        await store.commit(Commit(places=[Place("shop.Item", "files")]))
        assert await store.places() == {"shop.Item": "files", "shop.Other": ""}

    async def test_what_was_granted_last_is_kept_for_each_component(self, store):
        assert list(await store.granted()) == []
        first = Granted(component="a", given=("b.C",))
        await store.commit(Commit(granted=[first, Granted(component="b", taken=("a:x.*",))]))
        second = Granted(component="a", given=("b.C", "b:c.*"), taken=("b.D:read",))
        await store.commit(Commit(granted=[second]))
        kept = {one.component: one for one in await store.granted()}
        assert kept == {"a": second, "b": Granted(component="b", taken=("a:x.*",))}
        await store.clear("a")
        assert len(await store.granted()) == 2

    async def test_what_a_component_keeps_by_key_is_its_own_and_goes_with_its_data(self, store):
        odd = 'a/\0\u00e9\U0001f600"'
        kept = [Keeping("a", name, f"{name}=\0") for name in ("a/2", odd, "a/10", "b")]
        await store.commit(Commit(keeping=[*kept, Keeping("b", "a/2", "")]))
        assert store.kept("a", odd) == f"{odd}=\0"
        assert (store.kept("b", "a/2"), store.kept("b", odd)) == ("", None)
        assert list(await store.keys("a", "a/", 9)) == sorted(["a/2", odd, "a/10"])
        assert list(await store.keys("a", "", 2)) == sorted(one.key for one in kept)[:2]
        assert list(await store.keys("c", "", 9)) == []
        assert [await store.count_keys(name) for name in ("a", "b", "c")] == [4, 1, 0]
        await store.clear("a")
        assert list(await store.keys("a", "", 9)) == []
        assert (store.kept("a", "b"), store.kept("b", "a/2")) == (None, "")

    async def test_what_is_under_a_key_is_what_was_committed_last(self, store):
        sets = [Commit(keeping=[Keeping("a", "k", value)]) for value in ("1", None, "2", None, "3")]
        await asyncio.gather(*map(store.commit, sets))
        assert store.kept("a", "k") == "3"
        await store.commit(Commit(keeping=[Keeping("a", "k", "4"), Keeping("a", "k", None)]))
        assert store.kept("a", "k") is None
        with pytest.raises(ConflictError):
            await store.commit(
                Commit(drops=[Drop("shop.Item", "missing", 1)], keeping=[Keeping("a", "k", "5")])
            )
        assert store.kept("a", "k") is None

    async def test_an_export_has_records_from_elsewhere(self, store, tmp_path):
        await store.commit(new("a"))
        await store.commit(Commit(places=[Place("shop.Far", "shelf")]))
        far = record("f", 3, model="shop.Far", name="x")
        more = {"shop.Far": [far]}
        header = await store.export(str(tmp_path / "all"), [], lambda done, of: None, more)
        assert {model: part.records for model, part in header.models.items()} == {
            "shop.Far": 1,
            "shop.Item": 1,
        }
        lines = (tmp_path / "all").read_text().splitlines()
        assert json.loads(lines[1])["model"] == "shop.Far"

    async def test_a_conflict_takes_claims_and_records_nothing(self, store):
        await store.commit(Commit(unclaimed=[Unclaimed("a", "item.picked", NOW)]))
        with pytest.raises(ConflictError):
            await store.commit(
                Commit(
                    drops=[Drop("shop.Item", "missing", 1)],
                    taken=[Taken("k", "e", NOW)],
                    claimed=[Claimed("a")],
                    recordings=[Recording("f", 1, 1, NOW, b"")],
                )
            )
        assert store.taken("k") is None
        assert [one.event for one in await store.unclaimed()] == ["a"]
        assert list(await store.recordings("f")) == []

    async def test_old_answers_are_forgotten_and_newer_ones_kept(self, store):
        def answer(key, created):
            return Answer(
                key=key, fingerprint="f", status=201, headers=(), body=b"{}", created=created
            )

        old, young = answer("old", "2026-01-01T00:00:00Z"), answer("young", "2026-01-03T00:00:00Z")
        await store.commit(Commit(answers=[old, young]))
        before = "2026-01-02T00:00:00Z"
        assert await store.forget(Old(answers=before, taken="", recordings=""), 9) == 1
        assert await store.answer("old") is None
        assert await store.answer("young") == young

    async def test_old_marks_and_recordings_are_forgotten_some_at_a_time(self, store):
        old, young, before = "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-02T00:00:00Z"
        times = {f"k{n}": old for n in range(5)} | {"young": young}
        await store.commit(
            Commit(
                taken=[Taken(key, "e", time) for key, time in times.items()],
                recordings=[Recording(key, 1, 1, time, b"") for key, time in times.items()],
            )
        )
        dropped = []
        while dropped[-1:] != [0]:
            dropped.append(await store.forget(Old(answers="", taken=before, recordings=before), 2))
        assert dropped == [4, 4, 2, 0]
        assert {key: store.taken(key) for key in times} == {**dict.fromkeys(times), "young": "e"}
        kept = [key for key in times if await store.recordings(key)]
        assert kept == ["young"]
        assert store.last_seq() == 0

    async def test_events_are_forgotten_but_for_those_needed_and_the_last_one(self, store):
        events = [entry(f"e{n}", subject="s", flow="f" if n == 4 else None) for n in range(1, 10)]
        await store.commit(Commit(events=events))
        kept = Kept(frozenset({"e2"}), frozenset({"f"}))
        looked = [await store.forget_events(0, 6, kept, 4)]
        assert [one.seq for one in await store.events(0, 99)] == [2, 4, 5, 6, 7, 8, 9]
        looked.append(await store.forget_events(looked[-1], 6, kept, 4))
        assert looked == [4, 6]
        assert [one.seq for one in await store.events(0, 99)] == [2, 4, 7, 8, 9]
        assert [one.seq for one in await store.events(2, 2)] == [4, 7]
        assert [one.seq for one in await store.events_of("s", 0, 3)] == [2, 4, 7]
        assert await store.event("e1") is None
        assert (await store.event("e2")).seq == 2
        nothing = Kept(frozenset(), frozenset())
        assert await store.forget_events(0, 99, nothing, 99) == 99
        assert [one.seq for one in await store.events(0, 99)] == [store.last_seq()] == [9]
        assert await store.commit(Commit(events=[entry("e10")])) == 10
        await store.close()
        await store.open()
        assert store.last_seq() == 10
        assert [one.seq for one in await store.events(0, 99)] == [9, 10]

    async def test_an_event_that_was_forgotten_leads_to_what_is_left(self, store):
        chain = [entry("e1"), entry("e2", cause="e1"), entry("e3", cause="e2")]
        await store.commit(Commit(events=chain))
        await store.forget_events(0, 1, Kept(frozenset(), frozenset()), 9)
        assert await store.caused_by("e1", 9) == []
        assert [one.id for one in await store.caused_by("e2", 9)] == ["e2", "e3"]

    async def test_flows_that_ended_are_forgotten_with_their_steps(self, store):
        old, young, before = "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-02T00:00:00Z"
        flows = {
            "a-done": flow("a-done", state=FlowState.COMPLETED, created=old),
            "b-open": flow("b-open", created=old),
            "c-undone": flow("c-undone", state=FlowState.COMPENSATED, created=old),
            "d-kept": flow("d-kept", state=FlowState.COMPENSATION_FAILED, created=old),
            "e-young": flow("e-young", state=FlowState.COMPLETED, created=young),
        }
        await store.commit(
            Commit(
                flows=[*flows.values()],
                steps=[step(id, 1) for id in flows],
                recordings=[Recording(id, 1, 1, young, b"") for id in flows],
            )
        )
        kept, at, looked = Kept(frozenset(), frozenset({"d-kept"})), "", []
        while at is not None:
            at = await store.forget_flows(at, before, kept, 2)
            looked.append(at)
        assert looked == ["b-open", "d-kept", None]
        left = {id: found for id in flows if (found := await store.flow(id))}
        assert left == {id: (flows[id], [step(id, 1)]) for id in ("b-open", "d-kept", "e-young")}
        assert [id for id in flows if await store.recordings(id)] == [*left]

    async def test_all_cursors_are_known(self, store):
        await store.commit(Commit(cursors=[Cursor("b", 2), Cursor("a", -1)]))
        assert list(await store.cursors()) == [Cursor("a", -1), Cursor("b", 2)]

    async def test_a_new_field_is_filled_in_where_it_is_missing_and_nowhere_else(self, store):
        old, new = record("old", n=1), record("new", n=2, color="red")
        other = record("other", model="m.Other", n=3)
        await store.commit(Commit(puts=[Put(old, 0), Put(new, 0), Put(other, 0)]))
        await store.commit(Commit(fills=[Fill(old.model, "color", b'"blue"')]))
        found = {id: store.get(old.model, id) for id in ("old", "new")}
        docs = {id: json.loads(one.doc) for id, one in found.items()}
        assert docs == {
            "old": {**json.loads(old.doc), "color": "blue"},
            "new": json.loads(new.doc),
        }
        assert found["old"].revision == old.revision
        assert store.get("m.Other", "other") == other
        blue = Query(where=(Term("color", "blue"),))
        assert [one.id for one in (await store.list(old.model, blue)).items] == ["old"]

    # --- flows

    async def test_flows_and_steps_are_replaced_by_their_keys(self, store):
        await store.commit(Commit(flows=[flow("f")], steps=[step("f", 2), step("f", 1)]))
        await store.commit(
            Commit(
                flows=[flow("f", state=FlowState.COMPLETED)], steps=[step("f", 2, StepState.DONE)]
            )
        )
        assert await store.flow("f") == (
            flow("f", state=FlowState.COMPLETED),
            [step("f", 1), step("f", 2, StepState.DONE)],
        )
        assert await store.flow("g") is None

    async def test_a_flow_changed_after_its_commit_is_stored_as_it_was(self, store):
        mine, first = flow("f"), step("f", 1)
        answer = store.commit(Commit(flows=[mine], steps=[first]))
        mine.state, first.state = FlowState.COMPENSATING, StepState.FAILED
        await answer
        (stored, (its_step,)) = await store.flow("f")
        assert (stored.state, its_step.state) == (FlowState.RUNNING, StepState.READY)
        stored.state = FlowState.COMPLETED
        assert (await store.flow("f"))[0].state is FlowState.RUNNING

    async def test_open_flows_come_oldest_first_with_their_steps(self, store):
        await store.commit(
            Commit(
                flows=[
                    flow("c", created="2026-11-23T12:00:00.000Z"),
                    flow("b", state=FlowState.COMPENSATING, created="2026-11-23T11:00:00.000Z"),
                    flow("a", state=FlowState.COMPENSATION_FAILED),
                    flow("d", state=FlowState.COMPENSATED),
                    flow("e", state=FlowState.COMPLETED),
                ],
                steps=[step("c", 10), step("c", 9), step("a", 1)],
            )
        )
        found = await store.open_flows()
        assert [(one.id, [step.n for step in steps]) for one, steps in found] == [
            ("b", []),
            ("c", [9, 10]),
        ]

    async def test_flows_of_a_record_come_oldest_first(self, store):
        await store.commit(
            Commit(
                flows=[
                    flow("b", created="2026-11-23T12:00:00.000Z"),
                    flow("a", created="2026-11-23T12:00:00.000Z"),
                    flow("z", state=FlowState.COMPLETED),
                    flow("x", record="other"),
                    flow("y", model="shop.Other"),
                ],
                steps=[step("a", 1)],
            )
        )
        found = await store.flows("shop.Item", "r")
        assert [(one.id, len(steps)) for one, steps in found] == [("z", 0), ("a", 1), ("b", 0)]

    # --- the rest

    async def test_small_values_are_kept_and_replaced(self, store):
        def values(n):
            answer = Answer(
                key="k",
                fingerprint=f"POST {n}",
                status=201,
                headers=(("ETag", '"1"'),),
                body=b"\x00\xff%d" % n,
                created=NOW,
            )
            source = Source(
                name="shop", version="1.0.0", text=f"x = {n}", origin="cell 1", digest="d"
            )
            return answer, source, Schema("shop.Item", b'{"n":%d}' % n)

        for n in (1, 2):
            answer, source, schema = values(n)
            await store.commit(
                Commit(
                    answers=[answer],
                    sources=[source],
                    schemas=[schema],
                    cursors=[Cursor("mail", n)],
                )
            )
            assert await store.answer("k") == answer
            assert await store.source("d") == source
            assert await store.schema("shop.Item") == schema.doc
            assert await store.cursor("mail") == n
        assert await store.answer("other") is await store.source("other") is None
        assert await store.schema("other") is await store.cursor("other") is None

    async def test_deployments_and_failures_come_in_order(self, store):
        def deployment(number, live=True):
            return Deployment(
                number=number,
                component="shop",
                version="1.0.0",
                digest="d",
                origin="cell 1",
                who="",
                time=NOW,
                live=live,
            )

        await store.commit(
            Commit(
                deployments=[deployment(10), deployment(9)],
                failed=[failure("b", 2), failure("a", 10), failure("a", 2)],
            )
        )
        await store.commit(
            Commit(deployments=[deployment(9, live=False)], failed=[failure("b", 2, attempts=7)])
        )
        assert list(await store.deployments()) == [deployment(9, live=False), deployment(10)]
        assert list(await store.failed()) == [
            failure("a", 2),
            failure("b", 2, attempts=7),
            failure("a", 10),
        ]

    async def test_the_audit_log_is_counted_without_gaps_and_read_from_both_ends(self, store):
        assert list(await store.audits(None, 10)) == list(await store.audits(0, 10)) == []
        told = [
            audit(str(n), action=Action.REFUSE if n == 2 else Action.DEPLOY) for n in range(1, 6)
        ]
        await store.commit(Commit(audits=told[:2], puts=[Put(record("a"), 0)]))
        lost = store.commit(Commit(audits=[audit("lost")], puts=[Put(record("a"), 0)]))
        kept = store.commit(Commit(audits=told[2:4]))
        with pytest.raises(ConflictError):
            await lost
        await kept
        await store.commit(Commit(audits=told[4:]))
        stored = [msgspec.structs.replace(one, n=n) for n, one in enumerate(told, start=1)]
        assert list(await store.audits(None, 10)) == list(await store.audits(0, 10)) == stored
        assert list(await store.audits(None, 2)) == stored[3:]
        assert list(await store.audits(1, 2)) == stored[1:3]
        assert list(await store.audits(5, 2)) == []
        assert list(await store.audits(None, 2, Action.REFUSE)) == stored[1:2]
        assert list(await store.audits(1, 2, Action.DEPLOY)) == stored[2:4]
        assert list(await store.audits(None, 2, Action.PIN)) == []

    async def test_clear_is_told_by_the_audit_log_which_it_leaves_whole(self, store):
        await store.commit(Commit(audits=[audit("shop")], puts=[Put(record("a"), 0)]))
        assert await store.clear("shop", [audit("shop", action=Action.RESET)]) == 1
        actions = [one.action for one in await store.audits(0, 10)]
        assert actions == [Action.DEPLOY, Action.RESET]

    async def test_what_an_entry_of_the_audit_log_says_comes_back_whole(self, store):
        told = Audit(
            time=NOW, action=Action.PIN, who="Ünal\n", about="github:acme/*", version="1.0.0",
            address="github:acme/orders@^1", resolved="github:acme/orders@" + "0" * 40,
            digest="d" * 64, key="ed25519:x", detail="so \0 it is", fields={"arm": "10"},
        )  # fmt: skip
        await store.commit(Commit(audits=[told]))
        assert list(await store.audits(None, 1)) == [msgspec.structs.replace(told, n=1)]

    async def test_the_newest_failures_and_those_of_one_subscriber(self, store):
        await store.commit(
            Commit(failed=[failure("b", 2), failure("a", 10), failure("a", 2), failure("b", 11)])
        )
        assert [(one.seq, one.subscriber) for one in await store.failed(3)] == [
            (2, "b"),
            (10, "a"),
            (11, "b"),
        ]
        assert await store.failed(0) == []
        assert await store.failed_of("a") == [failure("a", 2), failure("a", 10)]
        assert await store.failed_of("c") == []
        assert await store.failed_count() == 4

    async def test_a_cleared_failure_leaves_with_what_is_committed_beside_it(self, store):
        await store.commit(Commit(failed=[failure("a", 1), failure("a", 2), failure("b", 1)]))
        await store.commit(
            Commit(events=[entry("e")], cleared=[Cleared("a", 1), Cleared("never", 1)])
        )
        assert [(one.subscriber, one.seq) for one in await store.failed()] == [("b", 1), ("a", 2)]
        refused = Commit(puts=[Put(record("r", 2), 1)], cleared=[Cleared("a", 2)])
        with pytest.raises(ConflictError):
            await store.commit(refused)
        assert await store.failed_count() == 2

    async def test_clear_drops_failed_flows_of_the_component_and_no_other_failure(self, store):
        flows = [flow("mine"), flow("theirs", component="other", model="other.Item")]
        failed = [failure(f"flow:{one.id}", 1, kind="flow", what=one.model) for one in flows]
        await store.commit(Commit(flows=flows, failed=[*failed, failure("shop:ear", 1)]))
        await store.clear("shop")
        left = [one.subscriber for one in await store.failed()]
        assert left == ["flow:theirs", "shop:ear"]

    async def test_recent_flows_come_highest_id_first_with_their_steps(self, store):
        await store.commit(
            Commit(
                flows=[
                    flow("f1", state=FlowState.COMPLETED),
                    flow("f3", state=FlowState.COMPENSATED),
                    flow("f2"),
                ],
                steps=[step("f3", 2), step("f3", 1), step("f1", 1)],
            )
        )
        found = await store.recent_flows(2)
        assert [(one.id, [step.n for step in steps]) for one, steps in found] == [
            ("f3", [1, 2]),
            ("f2", []),
        ]
        assert len(await store.recent_flows(10)) == 3

    async def test_clear_drops_a_component_and_nothing_else(self, store):
        await store.commit(
            Commit(
                puts=[
                    Put(record(id, model=model), 0)
                    for id, model in [
                        ("a", "shop.Item"),
                        ("b", "shop.Item"),
                        ("c", "shop.Cart"),
                        ("d", "mail.Box"),
                    ]
                ],
                events=[entry("e1")],
                flows=[
                    flow("f"),
                    flow("g", component="mail"),
                    flow("h", model="mail.Box"),
                    flow("i", component="mail", model="mail.Box"),
                ],
                steps=[step(id, 1) for id in "fghi"],
                schemas=[Schema("shop.Item", b"{}"), Schema("mail.Box", b"{}")],
            )
        )
        assert await store.clear("shop") == 3
        assert store.get("shop.Item", "a") is None
        assert await store.count("mail.Box") == 1
        assert [one.id for one, _ in await store.open_flows()] == ["i"]
        assert [len(steps) for _, steps in await store.open_flows()] == [1]
        assert await store.schema("shop.Item") is None
        assert await store.schema("mail.Box") == b"{}"
        assert store.last_seq() == 1
        assert await store.clear("nobody") == 0
        await store.commit(new("a"))

    async def test_clear_keeps_its_place_among_commits(self, store):
        before = store.commit(new("a"))
        cleared = store.clear("shop")
        assert await before == 0
        assert await cleared == 1
        await store.commit(new("a"))

    async def test_a_closed_store_says_so(self, store):
        await store.close()
        await store.close()
        with pytest.raises(StoreError, match="not open"):
            await store.commit(Commit())
        with pytest.raises(StoreError, match="not open"):
            store.get("shop.Item", "a")
        with pytest.raises(StoreError, match="not open"):
            await store.list("shop.Item", Query())

    async def test_a_closed_store_opens_with_all_it_held(self, store):
        await store.commit(Commit(puts=[Put(record("a"), 0)], events=[entry("e1")]))
        await store.close()
        await store.open()
        await store.open()
        assert store.get("shop.Item", "a") == record("a")
        assert store.last_seq() == 1
        assert await store.commit(Commit(events=[entry("e2")])) == 2

    # --- queries

    async def test_pages_hold_every_record_once(self, store):
        await store.commit(Commit(puts=[Put(record(f"{n:02}"), 0) for n in range(7)]))
        assert await pages(store, Query(limit=3)) == [
            ["00", "01", "02"],
            ["03", "04", "05"],
            ["06"],
        ]
        assert await pages(store, Query(limit=7)) == [[f"{n:02}" for n in range(7)]]

    async def test_a_cursor_stays_where_it_was_while_records_come_and_go(self, store):
        await store.commit(Commit(puts=[Put(record(id), 0) for id in "bdf"]))
        page = await store.list("shop.Item", Query(limit=2))
        await store.commit(
            Commit(puts=[Put(record(id), 0) for id in "ae"], drops=[Drop("shop.Item", "d", 1)])
        )
        after = decode_cursor(page.next, 1)
        rest = await store.list("shop.Item", Query(limit=2, after=after))
        assert [item.id for item in rest.items] == ["e", "f"]

    async def test_filters_compare_text_numbers_booleans_and_null(self, store):
        await store.commit(
            Commit(
                puts=[
                    Put(record("a", name="x", total="12.50", paid=True, n=3), 0),
                    Put(record("b", name="3", total="12.5", paid=False, n=3.5, note=None), 0),
                    Put(record("c", name=None, total="9", paid=True, n=2**70, note="hi"), 0),
                ]
            )
        )

        async def ids(*terms):
            return [item.id for item in (await store.list("shop.Item", Query(where=terms))).items]

        assert await ids(Term("name", "x")) == ["a"]
        assert await ids(Term("name", 3)) == []
        assert await ids(Term("name", None)) == ["c"]
        assert await ids(Term("note", None)) == ["a", "b"]
        assert await ids(Term("total", "12.500", kind="number")) == ["a", "b"]
        assert await ids(Term("total", 9, kind="number")) == ["c"]
        assert await ids(Term("n", 3.5, kind="number")) == ["b"]
        assert await ids(Term("n", 2**70, kind="number")) == ["c"]
        assert await ids(Term("paid", True), Term("n", 3)) == ["a"]
        assert await ids(Term("id", "b")) == ["b"]
        assert await ids(Term("_created", NOW), Term("name", "x")) == ["a"]
        assert await ids(Term("_updated", "never")) == []

    async def test_null_is_the_least_value_and_the_id_breaks_ties(self, store):
        data = {"a": None, "b": "9", "c": "10", "d": "9.0", "e": None}
        await store.commit(Commit(puts=[Put(record(id, total=t), 0) for id, t in data.items()]))
        up = Query(sort=(Term("total", kind="number"),), limit=2)
        assert await pages(store, up) == [["a", "e"], ["b", "d"], ["c"]]
        down = Query(sort=(Term("total", kind="number", descending=True),), limit=2)
        assert await pages(store, down) == [["c", "b"], ["d", "a"], ["e"]]
        text = Query(sort=(Term("total"),))
        assert await pages(store, text) == [["a", "e", "c", "b", "d"]]

    async def test_records_sort_by_their_times(self, store):
        times = {"a": "2026-03-01T00:00:00.000Z", "b": "2026-01-01T00:00:00.000Z"}
        await store.commit(
            Commit(puts=[Put(record(id, created=t, updated=t), 0) for id, t in times.items()])
        )
        assert await pages(store, Query(sort=(Term("_created"),), limit=1)) == [["b"], ["a"]]
        newest = Query(sort=(Term("_updated", descending=True),), limit=1)
        assert await pages(store, newest) == [["a"], ["b"]]

    VALUES = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**62), 2**62),
        st.sampled_from(
            [0, 1, 2, "", "1", "1.0", "01", "-2.5e1", "a", "B", "é", "\U0001f600", "\ue000"]
        ),
        st.decimals(-1000, 1000, places=2).map(str),
    )
    TERMS = st.lists(
        st.builds(
            Term,
            st.sampled_from(["x", "y", "_created", "id"]),
            kind=st.sampled_from(["text", "number"]),
            descending=st.booleans(),
        ),
        max_size=2,
    )

    @settings(
        max_examples=60,
        deadline=None,
        # One store serves all examples (each has a model of its own), one test all stores.
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(
        rows=st.lists(st.tuples(VALUES, VALUES), max_size=12),
        sort=TERMS,
        where=st.lists(
            st.builds(
                Term, st.sampled_from(["x", "y"]), VALUES, kind=st.sampled_from(["text", "number"])
            ),
            max_size=1,
        ),
        limit=st.integers(1, 5),
    )
    async def test_all_stores_answer_a_query_alike(self, store, rows, sort, where, limit):
        model = await store.commit(Commit(events=[entry(f"{store.last_seq()}")]))
        other = MemoryStore()
        await other.open()
        records = [
            record(
                f"{n:02}",
                model=f"m.{model}",
                created=f"{n % 3}",
                x=x,
                **({} if y is None else {"y": y}),
            )
            for n, (x, y) in enumerate(rows)
        ]
        for one in (store, other):
            await one.commit(Commit(puts=[Put(record, 0) for record in records]))
        query = Query(sort=tuple(sort), where=tuple(where), limit=limit)
        found = await pages(store, query, model=f"m.{model}")
        assert found == await pages(other, query, model=f"m.{model}")
        everything = [id for page in found for id in page]
        assert len(everything) == len(set(everything))
        if not where:
            assert len(everything) == len(records)

    async def test_each_operator_of_each_field_means_the_same_in_all_stores(self, store):
        other = MemoryStore()
        await other.open()
        records = [
            record(
                f"{n:02}",
                created=f"2026-01-01T00:00:0{n % 3}.000Z",
                **{k: v for k, v in asked.data_of(thing).items() if k != "id"},
            )
            for n, thing in enumerate(asked.SAMPLES)
        ]
        for one in (store, other):
            await one.commit(Commit(puts=[Put(record, 0) for record in records]))
        told = 0
        for fields in asked.every_condition():
            where = Reading(asked.COLUMNS).where((), fields)
            for condition in (where, tuple(map(Not, where))):
                query = Query(where=condition)
                found = await pages(store, query)
                assert found == await pages(other, query), (fields, condition)
                told += bool(found[0])
        assert told > 500
        for name in asked.VALUES:
            for sign in ("", "-"):
                sort = asked.COLUMNS.sort(sign + name.replace("__", "."))
                query = Query(sort=sort, limit=3)
                assert await pages(store, query) == await pages(other, query), name

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(
        things=st.lists(asked.THINGS, max_size=8),
        clauses=st.lists(asked.CLAUSES, max_size=2),
        fields=st.one_of(st.just({}), asked.FIELDS),
        sort=asked.SORTS,
        limit=st.integers(1, 5),
    )
    async def test_what_is_asked_of_typed_records_means_the_same_in_all_stores(
        self, store, things, clauses, fields, sort, limit
    ):
        model = f"m.{await store.commit(Commit(events=[entry(f'{store.last_seq()}')]))}"
        other = MemoryStore()
        await other.open()
        records = [
            record(
                f"{n:02}",
                model=model,
                created=f"2026-01-01T00:00:0{n % 3}.000Z",
                **{k: v for k, v in asked.data_of(thing).items() if k != "id"},
            )
            for n, thing in enumerate(things)
        ]
        for one in (store, other):
            await one.commit(Commit(puts=[Put(record, 0) for record in records]))
        reading = Reading(asked.COLUMNS)
        query = Query(
            where=reading.where(clauses, fields), sort=asked.COLUMNS.sort(sort), limit=limit
        )
        found = await pages(store, query, model=model)
        assert found == await pages(other, query, model=model)
        whole = await store.list(model, msgspec.structs.replace(query, limit=100))
        assert [id for page in found for id in page] == [item.id for item in whole.items]
        assert await store.count(model, query.where) == sum(map(len, found))
        opposite = (Not(Every(query.where)),)
        assert await store.count(model, opposite) == len(records) - sum(map(len, found))

    async def test_an_index_changes_no_answer_and_may_come_and_go(self, store):
        await store.commit(
            Commit(puts=[Put(record(f"{n}", total=f"{n % 3}", name="x"), 0) for n in range(6)])
        )
        total = Term("total", kind="number", descending=True)
        name = Term("name")
        query = Query(where=(Term("name", "x"),), sort=(total,), limit=4)
        before = await pages(store, query)
        assert before == [["2", "5", "1", "4"], ["0", "3"]]
        for indexes in ([(name, total)], [(name, total), (name,)], [(total,)], []):
            await store.index("shop", {"shop.Item": indexes})
            assert await pages(store, query) == before
        await store.index("shop", {"shop.Item": [(name, total)]})
        await store.commit(Commit(puts=[Put(record("1", 2, total="9", name="x"), 1)]))
        await store.commit(Commit(drops=[Drop("shop.Item", "5", 1)]))
        assert await pages(store, query) == [["1", "2", "4", "0"], ["3"]]

    async def test_who_looks_sees_one_moment_whatever_is_committed_meanwhile(self, store):
        steps = [step("a", 1), step("a", 2)]
        await store.commit(
            Commit(
                puts=[Put(record("r", name="old"), 0)],
                events=[entry("1", subject="r")],
                flows=[flow("a"), flow("b", state=FlowState.COMPLETED)],
                steps=steps,
            )
        )
        looking, changed = threading.Event(), threading.Event()

        def question(sight):
            looking.set()
            assert changed.wait(10)
            return (
                (sight.seq, [e.id for e in sight.entries(0)], list(sight.entries(sight.seq))),
                ([r.doc for r in sight.records("shop.Item")], sight.record("shop.Item", "r").doc),
                (sight.record("shop.Item", "s"), sight.open_flows(), sight.flow("c")),
                [(f.id, f.state, [s.n for s in steps]) for f, steps in sight.flows("")],
                [f.id for f, _ in sight.flows("a")],
                sight.flow("a")[1],
            )

        seen = asyncio.ensure_future(store.look(question))
        await asyncio.to_thread(looking.wait, 10)
        await store.commit(
            Commit(
                puts=[Put(record("r", 2, name="new"), 1), Put(record("s"), 0)],
                events=[entry("2", subject="r")],
                flows=[flow("a", state=FlowState.COMPLETED), flow("c")],
            )
        )
        changed.set()
        old = record("r", name="old").doc
        assert await seen == (
            (1, ["1"], []),
            ([old], old),
            (None, ["a"], None),
            [("a", FlowState.RUNNING, [1, 2]), ("b", FlowState.COMPLETED, [])],
            ["b"],
            steps,
        )
        assert await store.look(lambda sight: (sight.seq, sight.open_flows())) == (2, ["c"])

    async def test_what_no_event_tells_of_is_counted(self, store):
        async def rewritten():
            return await store.look(lambda sight: sight.rewritten)

        await store.commit(new("r"))
        last = await rewritten()
        await store.commit(Commit(events=[entry("1"), entry("2")], flows=[flow("a")]))
        assert await rewritten() == last
        nothing = Kept(frozenset(), frozenset())
        for change in (
            lambda: store.commit(Commit(fills=[Fill("shop.Item", "more", b"1")])),
            lambda: store.forget_events(0, 2, nothing, 10),
            lambda: store.forget_flows("", NOW, nothing, 10),
            lambda: store.clear("shop"),
        ):
            await change()
            assert await rewritten() != last
            last = await rewritten()

    async def test_records_are_converted_with_their_events_and_what_they_were_is_kept(self, store):
        before = [record(id, old=id) for id in ("a", "b")]
        await store.commit(Commit(puts=[Put(one, 0) for one in before], events=[entry("1")]))
        after = [record(id, 2, updated=LATER, new=id) for id in ("a", "b")]
        told = [entry(f"m-{one.id}", "item.migrated", one.id) for one in after]
        last = await store.commit(
            Commit(
                events=[entry("2")],
                converted=[
                    Converted(*one, keep)
                    for *one, keep in zip(before, after, told, (7, 0), strict=True)
                ],
                outdated=["shop.Item"],
            )
        )
        assert last == 4
        assert [store.get("shop.Item", one.id) for one in after] == after
        found = await store.events(0, 9)
        assert [(e.seq, e.id) for e in found] == [(1, "1"), (2, "2"), (3, "m-a"), (4, "m-b")]
        assert (await store.event("m-a")).doc == told[0].doc
        assert await formers(store) == [Former("shop.Item", "a", 7, 2, before[0].doc)]
        # The next migration keeps what there was before it, and nothing of the one before.
        again = record("b", 3, updated=LATER, newer="b")
        await store.commit(
            Commit(
                converted=[Converted(after[1], again, entry("m-c", "item.migrated", "b"), 8)],
                outdated=["shop.Item"],
            )
        )
        assert await formers(store) == [Former("shop.Item", "b", 8, 3, after[1].doc)]
        assert await formers(store, "shop.Other") == []
        await store.clear("shop")
        assert await formers(store) == []

    async def test_a_record_that_changed_keeps_all_from_being_converted(self, store):
        before = [record(id, old=id) for id in ("a", "b")]
        await store.commit(Commit(puts=[Put(one, 0) for one in before]))
        await store.commit(Commit(puts=[Put(record("b", 2), 1)]))
        converted = [
            Converted(one, record(one.id, 2, new=1), entry(one.id, "item.migrated", one.id), 1)
            for one in before
        ]
        moving = store.commit(Commit(converted=converted, events=[entry("x")]))
        other = store.commit(new("c"))  # in one group with it, and not its fault
        with pytest.raises(ConflictError, match="changed while it was migrated"):
            await moving
        await other
        assert store.get("shop.Item", "a") == before[0]
        assert store.get("shop.Item", "c") is not None
        assert await store.events(0, 9) == []
        assert await formers(store) == []

    async def test_more_records_than_are_written_at_a_time_are_converted(self, store):
        before = [record(f"{n:05}") for n in range(4500)]
        await store.commit(Commit(puts=[Put(one, 0) for one in before]))
        converted = [
            Converted(one, record(one.id, 2, new=1), entry(one.id, "item.migrated", one.id), 1)
            for one in before
        ]
        assert await store.commit(Commit(converted=converted)) == 4500
        assert [e.subject for e in await store.events(4498, 9)] == ["04498", "04499"]
        assert len(await formers(store)) == 4500
        assert store.get("shop.Item", "04499").revision == 2


async def formers(store, model="shop.Item"):
    """What is kept of a model's records of before a migration, by id."""
    found = await store.look(lambda sight: list(sight.formers(model)))
    return sorted(found, key=lambda one: one.id)
