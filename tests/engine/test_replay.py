"""A flow is run again with what its adapters answered, and nothing real hears of it."""

import asyncio
import gc
import logging
import sys
from decimal import Decimal

import msgspec
import pytest

from aegis import Refused
from aegis.adapters.cipher import AesCipher, random_key
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.component import ENCODER, MODULES
from aegis.core.errors import (
    ClosedError,
    ComponentError,
    ConflictError,
    InvalidError,
    NotFoundError,
    RecordingError,
)
from aegis.core.policy import Policy
from aegis.core.replay import Replay
from aegis.testing import memory_host
from tests.engine.shop import TEXT, never, quiet, until
from tests.engine.test_answers import text as answers_text


async def ended(host, **data):
    """A new order, and its flow when all has come to rest."""
    order = await host.create("Order", **data)
    flow = await host.wait(order, 5)
    await quiet(host)
    return order, flow


def differences(replay):
    return {pair.name.split()[0] for pair in (*replay.steps, *replay.events) if not pair.same}


async def untouched(host, work):
    """What `work` gives, having made sure that it changed nothing real."""
    before = (host.store.last_seq(), host.store.commits, dict(host.store._records["orders.Order"]))
    result = await work
    assert before == (
        host.store.last_seq(),
        host.store.commits,
        dict(host.store._records["orders.Order"]),
    )
    return result


async def test_the_same_code_does_the_same_and_nobody_is_asked(shop, desk):
    _, flow = await ended(shop, total="9.50")
    asked = len(desk.calls)
    replay = await untouched(shop, shop.replay(flow.id))
    assert replay.same
    assert not replay.stopped
    assert replay.reason == "it came to its end"
    assert len(replay.steps) == len(replay.events) == 3
    assert len(desk.calls) == asked


@pytest.mark.parametrize(
    "reply",
    [OSError("sea is rough"), Refused("no ship"), never],
    ids=["raises", "refuses", "hangs"],
)
async def test_failure_retries_and_undo_are_run_again_in_no_time(shop, desk, reply):
    desk.replies["ship"] = reply
    _, flow = await ended(shop)
    asked = len(desk.calls)
    began = asyncio.get_running_loop().time()
    replay = await untouched(shop, shop.replay(flow.id))
    assert replay.same, str(replay)
    assert {pair.name.split()[0] for pair in replay.steps} == {
        "orders.Order.pay", "orders.Order.pack", "orders.Order.ship", "orders.Order.canceled",
    }  # fmt: skip
    assert len(desk.calls) == asked
    assert asyncio.get_running_loop().time() - began < 3


async def test_other_code_shows_what_it_would_have_done_otherwise(shop, desk):
    order, flow = await ended(shop)
    text = TEXT.replace('status="COMPLETE"', 'status="SHIPPED"')
    replay = await untouched(shop, shop.replay(flow.id, text))
    assert not replay.same
    assert differences(replay) == {"orders.Order.ship", "order.shipped"}
    (record,) = (pair for pair in replay.state if pair.name.endswith(order.id))
    assert (record.then, record.now) == ({"status": "COMPLETE"}, {"status": "SHIPPED"})
    told = str(replay).splitlines()
    assert "    - status=COMPLETE" in told
    assert "    + status=SHIPPED" in told
    assert msgspec.json.decode(ENCODER.encode(replay), type=Replay) == replay
    assert (await shop.get("Order", order.id)).status == "COMPLETE"


async def test_a_deployed_revision_is_named_by_its_label_or_version(shop):
    _, flow = await ended(shop)
    first = shop.engine.registry.live["orders"].label
    await shop.deploy("orders", "1.1.0", TEXT.replace('"COMPLETE"', '"DONE"'))
    assert not (await shop.replay(flow.id)).same
    for revision in (first, "1.0.0", first.rpartition("+")[2]):
        replay = await shop.replay(flow.id, revision)
        assert replay.same
        assert replay.revision == first


async def test_an_event_of_the_flow_means_the_flow(shop):
    _, flow = await ended(shop)
    events = await shop.events()
    order = (await shop.list("Order"))[0]
    for asked in (events[0], events[-1].id, 2, "3", f"flow:{flow.id}", flow, order):
        replay = await shop.replay(asked)
        assert (replay.flow, replay.same) == (flow.id, True)


async def test_a_call_that_was_not_recorded_stops_it_and_says_which(shop, desk):
    order, flow = await ended(shop)
    text = TEXT.replace('partner.do("pack"', 'partner.do("wrap"')
    asked = len(desk.calls)
    replay = await untouched(shop, shop.replay(flow.id, text))
    assert replay.stopped
    assert not replay.same
    assert f'Partner.do("wrap", "{order.id}"), which was not recorded' in replay.reason
    assert f'recorded are: Partner.do("pack", "{order.id}")' in replay.reason
    assert len(desk.calls) == asked


async def test_a_call_more_than_then_stops_it_even_where_the_port_catches_errors(shop):
    _, flow = await ended(shop)
    text = TEXT.replace(
        'await partner.do("pack", self.id)\n        return self',
        'await partner.do("pack", self.id)\n'
        "        try:\n"
        '            await partner.do("pack", self.id)\n'
        "        except Exception:\n"
        "            pass\n"
        "        return self",
    )
    replay = await shop.replay(flow.id, text)
    assert replay.stopped
    assert "it was asked less often then" in replay.reason


async def test_a_named_argument_is_the_same_as_one_in_its_place(shop):
    _, flow = await ended(shop)
    text = TEXT.replace('partner.do("pack", self.id)', 'partner.do(order=self.id, what="pack")')
    assert (await shop.replay(flow.id, text)).same


async def test_what_people_did_meanwhile_happens_again(shop, desk):
    order = await shop.create("Order", approved=False)
    await until(lambda: shop.store.last_seq() == 2)
    await shop.update(await shop.get("Order", order.id), note="hurry")
    await shop.call(await shop.get("Order", order.id), "approve")
    flow = await shop.wait(order, 5)
    replay = await untouched(shop, shop.replay(flow.id))
    assert replay.same, str(replay)
    assert len(replay.events) == 3
    never_approved = TEXT.replace("order: order.approved", "order: order.note == 'never'")
    replay = await shop.replay(flow.id, never_approved)
    assert not replay.same
    assert "it waits for" in replay.reason


async def test_a_command_that_undid_it_undoes_it_again(shop, desk):
    order = await shop.create("Order", approved=False)
    await until(lambda: shop.store.last_seq() == 2)
    await shop.call(await shop.get("Order", order.id), "cancel")
    await quiet(shop)
    (flow, _), *_ = await shop.flows(order)
    assert flow.canceled
    replay = await untouched(shop, shop.replay(flow.id))
    assert replay.same, str(replay)


async def test_answers_from_outside_come_again_before_and_after_they_are_waited_for(desk):
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", answers_text())
        order = await host.create("Order")
        await until(lambda: host.store.last_seq() == 2)
        await host.publish("warehouse.picked", order_id=order.id, address="Kai 1")
        await host.publish("carrier.tracked", order.id, status="delivered")
        flow = await host.wait(order, 5)
        replay = await untouched(host, host.replay(flow.id))
        assert replay.same, str(replay)
        later = answers_text().replace('"warehouse.picked", "warehouse.short"', '"warehouse.sent"')
        replay = await host.replay(flow.id, later)
        assert not replay.same
        assert "it waits for" in replay.reason


async def test_a_flow_that_was_begun_anew_is_the_one_that_is_meant(shop, desk):
    desk.replies["pay"] = Refused("no money")
    order, flow = await ended(shop)
    (failed,) = await shop.failed()
    desk.replies["pay"] = "ok"
    await shop.retry(failed)
    await quiet(shop)
    again = (await shop.flows(order))[-1][0]
    assert again.id != flow.id
    assert (await shop.replay(flow.id)).same
    replay = await shop.replay(again.id)
    assert replay.same, str(replay)
    assert replay.flow == again.id


STOCK = """
from typing import Protocol
from aegis import Model, adapter, config, port

class Shelf(Protocol):
    async def take(self, item: str) -> int: ...

class Real(Shelf):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say
    async def take(self, item: str) -> int:
        await self.say("take", item, "")
        return 7

class Item(Model, endpoint="items"):
    left: int = 10

    @port(consumes="order.created", by="note", produces="item.taken")
    async def take(self, shelf: Shelf = adapter()) -> "Item":
        return self.update(left=await shelf.take(self.id))
"""


async def test_a_flow_through_several_components_is_run_again_in_all_of_them(shop, desk):
    await shop.deploy("stock", "1.0.0", STOCK)
    item = await shop.create("Item", left=8)
    _, flow = await ended(shop, note=item.id)
    assert (await shop.get("Item", item.id)).left == 7
    replay = await untouched(shop, shop.replay(flow.id))
    assert replay.same, str(replay)
    assert "stock.Item.take" in {pair.name.split()[0] for pair in replay.steps}
    assert {pair.name for pair in replay.state} > {f"stock.Item {item.id}"}
    assert (await shop.replay(flow.id, TEXT.replace('"COMPLETE"', '"DONE"'))).stopped is False


async def test_a_join_is_run_again(host):
    await host.deploy(
        "jobs",
        "1.0.0",
        """
from aegis import Model, port
class Job(Model, endpoint="jobs"):
    left: int = 0
    right: int = 0
    both: int = 0
    @port(consumes="job.created", produces="job.left")
    def go_left(self) -> "Job":
        return self.update(left=1)
    @port(consumes="job.created", produces="job.right")
    def go_right(self) -> "Job":
        return self.update(right=1)
    @port(consumes=(go_left, go_right), join=True)
    def meet(self) -> "Job":
        return self.update(both=self.left + self.right)
""",
    )
    job = await host.create("Job")
    flow = await host.wait(job, 5)
    assert (await host.get("Job", job.id)).both == 2
    replay = await host.replay(flow.id)
    assert replay.same, str(replay)


async def test_retries_are_those_of_the_host(desk):
    text = TEXT.replace("retries=2, backoff=7, timeout=5", "timeout=5")
    async with memory_host(values={"say": desk}, defaults=Policy(retries=1)) as host:
        await host.deploy("orders", "1.0.0", text)
        desk.replies["pay"] = OSError("line is dead")
        _, flow = await ended(host)
        assert desk.told == ["pay", "pay", "refund"]
        replay = await host.replay(flow.id)
        assert replay.same, str(replay)


async def test_a_flow_whose_beginning_is_not_kept_cannot_be_replayed(shop, monkeypatch):
    _, flow = await ended(shop)

    async def gone(_):
        return None

    monkeypatch.setattr(shop.store, "event", gone)
    with pytest.raises(NotFoundError, match="not in the journal any more"):
        await shop.replay(flow.id)


KINDS = """
from decimal import Decimal
from typing import Protocol

import msgspec

from aegis import Model, adapter, blocking, config, port


class Place(msgspec.Struct):
    city: str
    floors: tuple[int, ...] = ()


class SoldOut(Exception):
    def __init__(self, left: int) -> None:
        super().__init__(left)
        self.left = left


class Bank(Protocol):
    async def price(self, of: str) -> Decimal: ...
    async def place(self, of: Place) -> Place | None: ...
    async def table(self) -> dict[str, list[int]]: ...
    async def say(self, text: str) -> None: ...
    async def take(self, count: int) -> int: ...
    async def slow(self) -> str: ...
    def now(self) -> str: ...
    async def odd(self) -> object: ...


class Real(Bank):
    def __init__(self, say: object = config("say")) -> None:
        self.say_ = say

    async def price(self, of: str) -> Decimal:
        await self.say_("price", of, "")
        return Decimal("9.50")

    async def place(self, of: Place) -> Place | None:
        return Place("Bern", (1, 2)) if of.city else None

    async def table(self) -> dict[str, list[int]]:
        return {"a": [1, 2]}

    async def say(self, text: str) -> None: ...

    async def take(self, count: int) -> int:
        raise SoldOut(3)

    @blocking
    def slow(self) -> str:
        return "slow"

    def now(self) -> str:
        return "now"

    async def odd(self) -> object:
        return ODD


class Order(Model, endpoint="orders"):
    said: str = ""

    @port(consumes="order.created", retries=0)
    async def ask(self, bank: Bank = adapter()) -> "Order":
        table = await bank.table()
        table["a"].append(3)
        price = await bank.price("tea")
        place = await bank.place(Place("x"))
        none = await bank.place(Place(""))
        await bank.say(text="hello")
        try:
            await bank.take(5)
        except SoldOut as error:
            left = error.left
        said = [price + 1, place.floors, none, table, left, await bank.slow(), bank.now()]
        await bank.odd()
        return self.update(said=repr(said))
"""


async def test_answers_of_all_kinds_come_back_as_what_the_protocol_says(desk):
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", KINDS.replace("ODD", "None"))
        order, flow = await ended(host)
        said = (await host.get("Order", order.id)).said
        assert Decimal("10.50") == eval(said, {"Decimal": Decimal})[0]
        replay = await untouched(host, host.replay(flow.id))
        assert replay.same, str(replay)
        assert desk.told == ["price"]


async def test_an_answer_that_has_no_form_as_data_fails_nothing_but_its_replay(desk):
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", KINDS.replace("ODD", "object()"))
        order, flow = await ended(host)
        assert (await host.get("Order", order.id)).said
        replay = await host.replay(flow.id)
        assert replay.stopped
        assert "cannot be replayed: object has no form as JSON" in replay.reason


async def test_an_answer_that_is_not_what_the_protocol_says_now_stops_it(shop):
    _, flow = await ended(shop)
    text = TEXT.replace("order: str) -> str: ...", "order: str) -> int: ...")
    replay = await shop.replay(flow.id, text)
    assert replay.stopped
    assert 'its recorded answer "ok" is not what Partner.do says it returns' in replay.reason
    assert "int" in replay.reason


async def test_a_port_that_is_gone_is_named(shop):
    _, flow = await ended(shop)
    text = TEXT.replace("consumes=pack", 'consumes="order.packed"').replace(
        "async def ship", "async def send"
    )
    text = text.replace("@ship.undo", "@send.undo")
    replay = await shop.replay(flow.id, text)
    assert "there is no port orders.Order.ship in this code" in replay.notes
    assert not replay.same
    renamed = text.replace('produces="order.shipped"', 'produces="order.shipped", was="ship"')
    assert not (await shop.replay(flow.id, renamed)).stopped


async def test_code_that_no_longer_takes_the_event_has_nothing_to_replay(shop):
    _, flow = await ended(shop)
    with pytest.raises(ConflictError, match="sets off nothing"):
        await shop.replay(
            flow.id, TEXT.replace('consumes="order.created"', 'consumes="order.updated"')
        )


async def test_a_candidate_that_does_not_load_is_refused_and_nothing_stays(shop):
    _, flow = await ended(shop)
    for text in (
        "import nothing_of_that_name\n",
        "def broken(:\n",
        TEXT.replace("class Desk(Partner)", "class Desk"),
    ):
        with pytest.raises(ComponentError):
            await shop.replay(flow.id, text)
    assert (await shop.replay(flow.id)).same


async def test_a_replay_leaves_nothing_of_the_candidate_in_memory(shop):
    _, flow = await ended(shop)
    before = {name for name in sys.modules if name.startswith(MODULES)}
    await shop.replay(flow.id, TEXT + "\nclass Witness: pass\n")
    assert {name for name in sys.modules if name.startswith(MODULES)} == before

    def gone():
        gc.collect()
        return all(cls.__name__ != "Witness" for cls in object.__subclasses__())

    await until(gone, 20)


@pytest.mark.parametrize("asked", ["nothing", "99", "0", ""])
async def test_what_there_is_not_cannot_be_replayed(shop, asked):
    await ended(shop)
    with pytest.raises(NotFoundError, match="no flow and no event"):
        await shop.replay(asked)


async def test_a_revision_there_is_not_is_an_error(shop):
    _, flow = await ended(shop)
    with pytest.raises(NotFoundError, match=r"no revision '9\.9\.9' of orders"):
        await shop.replay(flow.id, "9.9.9")


async def test_a_listener_is_not_recorded(shop):
    with pytest.raises(InvalidError, match="listener"):
        await shop.replay("listener:orders:heard:3")


async def test_a_component_that_is_not_loaded_cannot_be_replayed(shop):
    _, flow = await ended(shop)
    await shop.undeploy("orders")
    with pytest.raises(ClosedError, match="not loaded"):
        await shop.replay(flow.id)


async def test_an_event_that_set_nothing_off_has_nothing_to_replay(shop):
    order, _ = await ended(shop)
    await shop.update(await shop.get("Order", order.id), note="x")
    (event,) = await shop.events("order.updated")
    with pytest.raises(NotFoundError, match="belongs to no flow"):
        await shop.replay(event.id)


async def test_without_recordings_there_is_no_replay(desk):
    store = MemoryStore()
    async with memory_host(store=store, values={"say": desk}, recordings=False) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        _, flow = await ended(host)
        assert await store.recordings(flow.id) == []
        with pytest.raises(RecordingError, match="records nothing"):
            await host.replay(flow.id)
    async with memory_host(store=store, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        with pytest.raises(RecordingError, match="nothing is recorded of flow"):
            await host.replay(flow.id)


async def test_another_key_is_an_error_of_that_replay_only(desk):
    store = MemoryStore()
    async with memory_host(store=store, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        _, flow = await ended(host)
    async with memory_host(store=store, values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        with pytest.raises(RecordingError, match="another key"):
            await host.replay(flow.id)
        _, flow = await ended(host)
        assert (await host.replay(flow.id)).same


async def test_a_damaged_recording_is_an_error_of_that_replay_only(shop):
    _, flow = await ended(shop)
    recordings = shop.store._recordings[flow.id]
    key, one = next(iter(recordings.items()))
    recordings[key] = msgspec.structs.replace(one, doc=one.doc[:-1] + bytes([one.doc[-1] ^ 1]))
    with pytest.raises(RecordingError, match="damaged"):
        await shop.replay(flow.id)
    _, flow = await ended(shop)
    assert (await shop.replay(flow.id)).same


class Mute:
    """A cipher that has lost its key."""

    def seal(self, data, about):
        raise OSError("the key is gone")


async def test_what_cannot_be_sealed_is_said_once_and_orders_go_on(shop, caplog):
    shop._deploys.flows.recorder._cipher = Mute()
    with caplog.at_level(logging.ERROR, "aegis.host"):
        _, flow = await ended(shop)
    assert flow.state == "completed"
    assert caplog.text.count("is not recorded any more: the key is gone") == 1


async def test_recordings_lie_sealed_beside_their_steps_and_go_on_after_a_restart(tmp_path, desk):
    key = random_key()

    async def twice(number):
        return OSError("secret word") if number == 1 else "open sesame"

    desk.replies["pay"] = twice
    store = SqliteStore(tmp_path)
    async with memory_host(store=store, values={"say": desk}) as host:
        host._deploys.flows.recorder._cipher = AesCipher(key)
        await host.deploy("orders", "1.0.0", TEXT)
        order = await host.create("Order", approved=False)
        await until(lambda: store.last_seq() == 2)
        (flow, _), *_ = await host.flows(order)
        kept = await store.recordings(flow.id)
        assert [(one.n, one.attempt) for one in kept] == [(1, 1), (1, 2)]
        assert all(b"sesame" not in one.doc and b"secret" not in one.doc for one in kept)
    async with memory_host(store=SqliteStore(tmp_path), values={"say": desk}) as host:
        host._deploys.flows.recorder._cipher = AesCipher(key)
        await host.deploy("orders", "1.0.0", TEXT)
        await host.call(await host.get("Order", order.id), "approve")
        await host.wait(flow.id, 5)
        kept = await host.store.recordings(flow.id)
        assert [(one.n, one.attempt) for one in kept] == [(1, 1), (1, 2), (2, 1), (3, 1)]
        replay = await host.replay(flow.id)
        assert replay.same, str(replay)


async def test_a_port_that_is_run_directly_is_not_recorded(shop, desk):
    order, flow = await ended(shop)
    before = dict(shop.store._recordings[flow.id])
    await shop.run(await shop.get("Order", order.id), "ship")
    assert shop.store._recordings == {flow.id: before}


async def test_what_a_service_answers_to_an_adapter_is_not_recorded(shop):
    await shop.deploy(
        "notes",
        "1.0.0",
        """
from typing import Protocol
from aegis import Model, adapter, port, service

class Line(Protocol):
    async def send(self, text: str) -> str: ...

class Desk(Protocol):
    async def tell(self, text: str) -> str: ...

class Wire(Line):
    async def send(self, text: str) -> str:
        return f"sent {text}"

class Clerk(Desk):
    def __init__(self, line: Line = service()) -> None:
        self.line = line
    async def tell(self, text: str) -> str:
        return await self.line.send(text)

class Note(Model, endpoint="notes"):
    said: str = ""
    @port(consumes="note.created")
    async def tell(self, desk: Desk = adapter()) -> "Note":
        return self.update(said=await desk.tell("x"))
""",
    )
    note = await shop.create("Note")
    flow = await shop.wait(note, 5)
    (recording,) = await shop.store.recordings(flow.id)
    calls = shop._deploys.flows.recorder.opened(recording)
    assert [(call.protocol, call.method, bytes(call.value)) for call in calls] == [
        ("Desk", "tell", b'"sent x"')
    ]
    assert (await shop.replay(flow.id)).same
