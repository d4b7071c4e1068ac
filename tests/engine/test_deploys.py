"""A swap is atomic: what is broken never serves, and what served goes on without a failed call."""

import asyncio
import gc
import linecache
import sys
import threading
import weakref
from datetime import UTC, datetime, timedelta

import pytest

from aegis import Refused
from aegis.adapters.storage.memory import MemoryStore
from aegis.core.errors import (
    AegisError,
    ClosedError,
    ComponentError,
    NotFoundError,
    StoreError,
)
from aegis.core.flow import FlowState
from aegis.engine import resident as residents
from aegis.protocols import Answer, Commit
from aegis.testing import memory_host
from tests.engine.shop import TEXT, never, quiet, until
from tests.fakes import FailingStore

GOOD = """
from typing import Protocol
from aegis import Model, adapter, command, config, port

class Pen(Protocol):
    async def write(self, text: str) -> str: ...

class Quill(Pen):
    async def write(self, text: str) -> str:
        return text

class Note(Model, endpoint="notes"):
    text: str = ""
    @port(consumes="note.created", produces="note.written")
    async def write(self, pen: Pen = adapter()) -> "Note":
        return self.update(text=await pen.write("v1"))
    @command
    def shout(self) -> "Note":
        return self.update(text=self.text.upper())
"""

BROKEN = {
    "a syntax error": (
        GOOD.replace("class Note(Model", "class Note Model"),
        ["line 12: ", "class Note Model"],
    ),
    "an exception": (GOOD + "\n1 / 0\n", ["line 21: ZeroDivisionError"]),
    "an exit": (GOOD + "\nimport sys\nsys.exit(3)\n", ["line 22: SystemExit: 3"]),
    "nothing in it": ("x = 1", ["no Model", "class Name(Model)"]),
    "a missing method": (
        GOOD.replace(
            "async def write(self, text: str) -> str:\n        return",
            "async def wriet(self, text: str) -> str:\n        return",
        ),
        ["Quill misses the method 'write' of Pen", "did you mean 'wriet'?"],
    ),
    "a wrong signature": (
        GOOD.replace(
            "def write(self, text: str) -> str:\n        return text",
            "def write(self) -> str:\n        return ''",
        ),
        ["Quill.write takes (self) -> str", "(self, text: str) -> str"],
    ),
    "arguments in another order": (
        GOOD.replace("text: str) -> str: ...", "text: str, size: int) -> str: ...").replace(
            "text: str) -> str:\n        return", "size: int, text: str) -> str:\n        return"
        ),
        ["Quill.write takes (self, size: int, text: str)"],
    ),
    "a plain method where the Protocol says async": (
        GOOD.replace(
            "async def write(self, text: str) -> str:\n        return",
            "def write(self, text: str) -> str:\n        return",
        ),
        ["Quill.write is a plain method", "@blocking"],
    ),
    "a missing configuration value": (
        GOOD.replace(
            "class Quill(Pen):",
            "class Quill(Pen):\n    def __init__(self, ink: str = config('ink.color')) -> None: ...",
        ),
        ["Quill needs the configuration value 'ink.color'", "AEGIS_INK_COLOR"],
    ),
    "a parameter that nobody fills": (
        GOOD.replace(
            "class Quill(Pen):", "class Quill(Pen):\n    def __init__(self, ink: str) -> None: ..."
        ),
        ["Quill.__init__(ink): the host cannot fill it"],
    ),
    "an unbound adapter": (
        GOOD.replace("class Quill(Pen):", "class Quill:"),
        ["needs an adapter for Pen", "class MyPen(Pen)"],
    ),
    "an ambiguous adapter": (
        GOOD + "\nclass Pencil(Quill): ...\n",
        ["Quill, Pencil all do it", 'host.bind("notes.Pen", "Quill")'],
    ),
    "a circle of services": (
        GOOD.replace(
            "class Quill(Pen):",
            "class Ink(Protocol):\n    def drop(self) -> None: ...\n"
            "class Pot(Ink):\n    def __init__(self, pen: Pen = adapter()) -> None: ...\n"
            "    def drop(self) -> None: ...\n"
            "class Quill(Pen):\n    def __init__(self, ink: Ink = adapter()) -> None: ...",
        ),
        ["services need each other in a circle", "Pot", "Quill"],
    ),
    "an endpoint twice": (
        GOOD + '\nclass Memo(Model, endpoint="notes"): ...\n',
        ["endpoint 'notes' of notes.Memo is also that of notes.Note"],
    ),
    "a misspelt event": (
        GOOD.replace('consumes="note.created"', 'consumes="note.craeted"'),
        ["'note.craeted', which nobody produces", "did you mean 'note.created'?"],
    ),
    "a circle of ports": (
        GOOD.replace('consumes="note.created"', 'consumes=("note.created", "note.written")'),
        ["ports of notes.Note set each other off for ever"],
    ),
    "a port that any event of its own sets off": (
        GOOD.replace('consumes="note.created"', 'consumes="note.*"'),
        ["ports of notes.Note set each other off for ever: write -> write"],
    ),
    "a circle through another model": (
        GOOD.replace('consumes="note.created"', 'consumes=("note.created", "reader.done"), by="id"')
        + """
class Reader(Model, endpoint="readers"):
    @port(consumes="note.written", by="reader", produces="reader.done")
    def read(self) -> None: ...
""",
        [
            "ports of notes.Note and notes.Reader set each other off for ever",
            "notes.Note.write -> notes.Reader.read -> notes.Note.write",
        ],
    ),
    "a reserved field name": (
        GOOD.replace('text: str = ""', 'text: str = ""\n    update: int = 0'),
        ["Note.update: the name is taken"],
    ),
    "a private field name": (
        GOOD.replace('text: str = ""', 'text: str = ""\n    _meta: int = 0'),
        ["Note._meta: the name is taken"],
    ),
    "a field that cannot be stored": (
        GOOD.replace('text: str = ""', 'text: str = ""\n    pen: Pen | None = None'),
        ["Note", "cannot be stored"],
    ),
    "an argument that cannot be sent": (
        GOOD.replace("def shout(self)", "def shout(self, pen: Pen)"),
        ["Note.shout: an argument has a type that cannot be sent"],
    ),
    "a bound on text": (
        GOOD.replace('text: str = ""', 'text: Annotated[str, Meta(ge=1)] = ""')
        .replace("from typing import", "from typing import Annotated,")
        .replace("import Model", "import Meta, Model"),
        ["Meta(ge) bounds numbers"],
    ),
    "an option of another library": (
        GOOD.replace('endpoint="notes"', 'endpoint="notes", rename="camel"'),
        ["model Note takes endpoint=, concurrency=, index=, store= and cache=, not rename="],
    ),
    "another model's event without by": (
        GOOD
        + '\nclass Box(Model):\n    @port(consumes="note.created")\n    def fill(self) -> "Box": ...\n',
        ["an event of another model, without `by`"],
    ),
    "a listener with arguments": (
        GOOD + "\nfrom aegis import on\n@on('note.created')\ndef heard(x: int) -> None: ...\n",
        ["listener heard takes x"],
    ),
    "an unknown name in an annotation": (
        GOOD.replace("pen: Pen = adapter()", "pen: 'Penn' = adapter()"),
        ["name 'Penn' is not defined"],
    ),
    "an adapter that cannot open": (
        GOOD.replace(
            "class Quill(Pen):", "class Quill(Pen):\n    async def open(self): raise OSError('dry')"
        ),
        ["Quill cannot open: OSError: dry"],
    ),
    "an adapter that cannot be made": (
        GOOD.replace("class Quill(Pen):", "class Quill(Pen):\n    def __init__(self): 1 / 0"),
        ["Quill cannot open: ZeroDivisionError"],
    ),
    "an adapter that exits": (
        GOOD.replace(
            "class Quill(Pen):", "class Quill(Pen):\n    async def open(self): raise SystemExit"
        ),
        ["Quill cannot open: SystemExit"],
    ),
    "an adapter that hangs in open": (
        GOOD.replace(
            "class Quill(Pen):",
            "class Quill(Pen):\n    async def open(self):\n        import asyncio\n        await asyncio.sleep(3600)",
        ),
        ["Quill did not open within"],
    ),
}


_others = set()


@pytest.fixture(autouse=True)
def only_mine():
    """Other tests load components too, and keep them."""
    _others.clear()
    _others.update(*traces())


def traces():
    """What the components of this test have left in the process."""
    return (
        {name for name in sys.modules if name.startswith("aegis_components")} - _others,
        {name for name in linecache.cache if name.startswith("<notes")} - _others,
    )


@pytest.fixture
async def notes():
    async with memory_host() as host:
        await host.deploy("notes", "1.0.0", GOOD)
        yield host


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_component_leaves_the_old_one_serving_and_names_the_fault(
    notes, fault, monkeypatch
):
    monkeypatch.setattr(residents, "OPEN_TIMEOUT", 0.05)
    text, said = BROKEN[fault]
    assert text != GOOD
    before, graph, status = traces(), notes.graph(), notes.status()
    with pytest.raises(ComponentError) as refused:
        await notes.deploy("notes", "1.0.0", text)
    for words in said:
        assert words in str(refused.value)
    assert traces() == before
    assert (notes.graph(), notes.status()) == (graph, status)
    note = await notes.create("Note")
    await notes.wait(note, 5)
    assert (await notes.get("Note", note.id)).text == "v1"
    with pytest.raises(ComponentError):
        await notes.deploy("fresh", "1.0.0", text)
    assert traces() == before


async def test_two_components_cannot_have_one_endpoint(notes):
    with pytest.raises(ComponentError, match="is also that of"):
        await notes.deploy("memos", "1.0.0", GOOD)
    with pytest.raises(ComponentError, match="no version"):
        await notes.deploy("notes", "one", GOOD)
    with pytest.raises(ComponentError, match="lower case"):
        await notes.deploy("Notes!", "1.0.0", GOOD)


async def test_the_same_text_again_is_not_deployed_again(notes):
    engine = notes.engine
    first = await notes.deploy("notes", "1.0.0", GOOD)
    assert (await notes.deploy("notes", "1.0.0", GOOD)) is first
    assert notes.engine is engine
    second = await notes.deploy("notes", "1.0.0", GOOD + "\n")
    assert second.number == first.number + 1


async def test_a_deploy_whose_commit_fails_changes_nothing_and_closes_what_it_opened():
    store = FailingStore()
    told = []
    text = GOOD.replace(
        "class Quill(Pen):",
        "class Quill(Pen):\n"
        "    def __init__(self, told: object = config('told')) -> None: self.told = told\n"
        "    async def open(self): self.told.append('open v1')\n"
        "    async def close(self): self.told.append('close v1')",
    )
    async with memory_host(store=store, values={"told": told}) as host:
        await host.deploy("notes", "1.0.0", text)
        before = traces()
        store.fail_next()
        with pytest.raises(StoreError):
            await host.deploy("notes", "1.0.0", text.replace("v1'", "v2'"))
        assert told == ["open v1", "open v2", "close v2"]
        assert traces() == before
        assert len(await host.list("Note")) == 0
        await host.deploy("notes", "1.0.0", text.replace("v1'", "v3'"))
        assert told == ["open v1", "open v2", "close v2", "open v3"]
        await host.deploy("notes", "1.0.0", text.replace("v1'", "v4'"))
        await until(lambda: told[4:] == ["open v4", "close v1"])
    assert sorted(told[6:]) == ["close v3", "close v4"]


async def test_an_adapter_is_closed_only_after_the_calls_it_serves(desk):
    """The replaced revision drains: its adapter works until the last call has ended."""
    closed, go = [], asyncio.Event()

    async def pay(_):
        await go.wait()
        return "ok"

    desk.replies["pay"] = pay
    desk.closed = closed
    text = TEXT.replace(
        "    async def do(self, what: str, order: str) -> str:\n        return await",
        "    async def close(self) -> None:\n        self.say.closed.append(1)\n"
        "    async def do(self, what: str, order: str) -> str:\n        return await",
    )
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text)
        order = await host.create("Order")
        await until(lambda: desk.told == ["pay"])
        for n in range(3):
            await host.deploy("orders", "1.0.0", text + f"\n# {n}\n")
        await until(lambda: len(closed) == 1)  # the second of four: neither live, previous nor busy
        go.set()
        assert (await host.wait(order, 5)).state is FlowState.COMPLETED
        await until(lambda: len(closed) == 2)


FIELDS = """
from aegis import Model
class Note(Model, endpoint="notes"):
    text: str = ""
    stars: int = 0
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("    stars: int = 0\n", ""), "notes.Note.stars was removed: 2 stored records"),
        (("stars: int = 0", "stars: str = ''"), "notes.Note.stars has another type"),
        (
            ("stars: int = 0", "stars: int = 0\n    color: str"),
            "notes.Note.color is new and has no default",
        ),
    ],
)
async def test_a_schema_that_stored_records_do_not_fit_is_refused_until_a_reset(host, change, said):
    await host.deploy("notes", "1.0.0", FIELDS)
    for _ in range(2):
        await host.create("Note", text="a")
    text = FIELDS.replace(*change)
    for version in ("1.0.0", "2.0.0"):
        with pytest.raises(ComponentError) as refused:
            await host.deploy("notes", version, text)
        assert said in str(refused.value)
        assert "reset" in str(refused.value)
    assert len(await host.list("Note")) == 2
    assert await host.reset("notes") == 2
    await host.deploy("notes", "1.0.0", text)
    assert await host.list("Note") == []


async def test_a_field_with_a_default_may_be_added(host):
    await host.deploy("notes", "1.0.0", FIELDS)
    note = await host.create("Note", text="a")
    await host.deploy("notes", "1.0.0", FIELDS + '    color: str = "blue"\n')
    assert (await host.get("Note", note.id)).color == "blue"
    assert (await host.update(await host.get("Note", note.id), color="red")).color == "red"


async def test_removing_a_port_on_which_flows_wait_is_refused_for_the_same_version(shop, desk):
    order = await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])
    text = (
        TEXT.replace("def pack(", "def wrap(")
        .replace("@pack.undo", "@wrap.undo")
        .replace("consumes=pack", "consumes=wrap")
    )
    with pytest.raises(
        ComponentError, match=r"port orders\.Order\.pack is gone, and 1 open flow wait"
    ):
        await shop.deploy("orders", "1.0.0", text)
    await shop.deploy("orders", "1.1.0", text)
    await shop.call(order, "approve")
    assert (await shop.wait(order, 5)).state is FlowState.COMPLETED
    assert desk.told == ["pay", "pack", "ship"]


async def test_removing_an_undo_that_an_open_flow_may_need_is_refused(shop, desk):
    await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])
    text = TEXT.replace("    @pay.undo(retries=1, backoff=3)\n", "")
    with pytest.raises(ComponentError, match=r"the undo of orders\.Order\.pay is gone"):
        await shop.deploy("orders", "1.0.0", text)


async def test_rollback_makes_the_previous_revision_live_again_and_back(notes):
    await notes.deploy("notes", "1.1.0", GOOD.replace('"v1"', '"v2"'))
    assert (await notes.rollback("notes")).version == "1.0.0"
    note = await notes.create("Note")
    await notes.wait(note, 5)
    assert (await notes.get("Note", note.id)).text == "v1"
    assert (await notes.rollback("notes")).version == "1.1.0"
    note = await notes.create("Note")
    await notes.wait(note, 5)
    assert (await notes.get("Note", note.id)).text == "v2"


async def test_there_is_nothing_to_roll_back_at_first(notes):
    with pytest.raises(NotFoundError, match="no previous revision"):
        await notes.rollback("notes")
    with pytest.raises(NotFoundError, match="did you mean 'notes'"):
        await notes.rollback("nots")


CONFIGURED = GOOD.replace(
    "class Quill(Pen):\n",
    "class Quill(Pen):\n"
    "    def __init__(self, ink: int = config('ink', 1)) -> None: self.ink = ink\n"
    "    async def open(self) -> None:\n"
    "        if self.ink > 8: raise OSError('spilt')\n",
).replace("return text", "return str(self.ink)")


async def test_a_changed_value_opens_the_adapters_anew_and_a_bad_one_changes_nothing(host):
    async def written():
        note = await host.create("Note")
        await host.wait(note, 5)
        return (await host.get("Note", note.id)).text

    await host.deploy("notes", "1.0.0", CONFIGURED)
    assert await written() == "1"
    await host.configure({"ink": "2"})
    assert await written() == "2"
    engine = host.engine
    for bad in ("blue", 9):
        with pytest.raises(ComponentError):
            await host.configure({"ink": bad})
    assert host.engine is engine
    assert await written() == "2"
    await host.deploy("notes", "1.1.0", CONFIGURED + "\n")
    await host.configure({"ink": 3})
    await host.rollback("notes")
    assert await written() == "3"


async def test_bind_chooses_among_several_adapters_before_and_after_a_deploy(host):
    text = GOOD + (
        "\nclass Pencil(Pen):\n    async def write(self, text: str) -> str:\n        return 'gray'\n"
    )
    await host.bind("notes.Pen", "Pencil")
    await host.deploy("notes", "1.0.0", text)
    note = await host.create("Note")
    await host.wait(note, 5)
    assert (await host.get("Note", note.id)).text == "gray"
    await host.bind("notes.Pen", "Quill")
    note = await host.create("Note")
    await host.wait(note, 5)
    assert (await host.get("Note", note.id)).text == "v1"
    with pytest.raises(ComponentError, match="did you mean 'Pencil'"):
        await host.bind("notes.Pen", "Pencl")
    await host.deploy("notes", "1.0.0", text + "\n")


async def test_fifty_deploys_under_load_fail_no_call_and_leave_nothing_in_memory(notes):
    classes = [weakref.ref(notes.spec("Note").cls)]
    stop, failed, done = False, [], 0

    async def calls():
        nonlocal done
        while not stop:
            try:
                note = await notes.create("Note")
                await notes.call(note, "shout")
                await notes.run(note, "write")
                await notes.list("Note", limit=1)
                done += 1
            except Exception as error:
                failed.append(error)
            await asyncio.sleep(0)

    callers = [asyncio.ensure_future(calls()) for _ in range(4)]
    for n in range(50):
        await notes.deploy("notes", f"1.{n % 3}.0", GOOD + f"\n# {n}\n")
        classes.append(weakref.ref(notes.spec("Note").cls))
    stop = True
    await asyncio.gather(*callers)
    del callers
    await quiet(notes)
    assert [str(error) for error in failed if "changed meanwhile" not in str(error)] == []
    assert done > 50

    def alive():
        gc.collect()
        return sum(ref() is not None for ref in classes)

    await until(lambda: alive() <= 2)
    assert len(traces()[0]) == 2


async def test_an_undeployed_component_serves_no_more_and_keeps_its_records(notes):
    note = await notes.create("Note", text="kept")
    await notes.wait(note, 5)
    await notes.undeploy("notes")
    with pytest.raises(NotFoundError):
        await notes.get("Note", note.id)
    await until(lambda: traces()[0] == set())
    await notes.deploy("notes", "1.0.0", GOOD)
    assert (await notes.get("Note", note.id)).text == "v1"


async def test_a_closed_host_refuses_work_and_closing_again_does_nothing(notes):
    await notes.close()
    await notes.close()
    for verb in (notes.create("Note"), notes.deploy("x", "1.0.0", GOOD), notes.resume()):
        with pytest.raises(ClosedError):
            await verb
    assert notes.missing() == ["the host"]
    assert traces()[0] == set()


async def test_a_class_of_an_older_revision_still_names_its_model(notes):
    old = notes.spec("Note").cls
    note = await notes.create(old)
    await notes.wait(note, 5)
    for n in range(3):
        await notes.deploy("notes", "1.0.0", GOOD + f"\n# {n}\n")
    assert (await notes.get(old, note.id)).text == "v1"
    again = await notes.create(old, text="old")
    await notes.wait(again, 5)
    assert (await notes.call(again, "shout")).text == "V1"


async def test_every_refusal_is_an_aegis_error_with_a_status(notes):
    with pytest.raises(AegisError) as refused:
        await notes.create("Noet")
    assert (refused.value.status, refused.value.hint) == (404, "did you mean 'Note'?")


class Gate:
    """What a component waits at while it loads, in the loader's thread."""

    slow = f"import gate\ngate.reached.set()\ngate.opened.wait(5)\n{GOOD}"

    def __init__(self):
        self.reached = threading.Event()
        self.opened = threading.Event()


@pytest.fixture
def gate(monkeypatch):
    gate = Gate()
    monkeypatch.setitem(sys.modules, "gate", gate)
    return gate


async def test_a_deploy_that_is_given_up_while_it_loads_leaves_nothing(notes, gate):
    before = traces()
    task = asyncio.ensure_future(notes.deploy("notes", "1.0.0", gate.slow))
    await until(gate.reached.is_set)
    task.cancel()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: traces() == before)
    await notes.deploy("notes", "1.0.0", GOOD + "\n")


async def test_a_host_that_closes_during_a_deploy_lets_nothing_in(notes, gate):
    task = asyncio.ensure_future(notes.deploy("notes", "1.0.0", gate.slow))
    await until(gate.reached.is_set)
    closing = asyncio.ensure_future(notes.close())
    await asyncio.sleep(0)
    gate.opened.set()
    await closing
    with pytest.raises(ClosedError):
        await task
    assert traces() == (set(), set())


async def test_a_flow_that_a_call_on_a_replaced_version_begins_ends_on_that_version(desk):
    """Three versions go by while a command runs; its event's port is still that of its own."""
    go = asyncio.Event()

    async def slow(_):
        await go.wait()
        return "ok"

    text = TEXT + (
        '    @command(produces="order.again")\n'
        '    async def again(self, partner: Partner = adapter()) -> "Order":\n'
        '        return self.update(note=await partner.do("again", self.id))\n'
        '    @port(consumes="order.again")\n'
        "    async def follow(self, partner: Partner = adapter()) -> None:\n"
        '        await partner.do("follow", self.id)\n'
    )
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text)
        order = await host.create("Order")
        await host.wait(order, 5)
        desk.replies["again"] = slow
        call = asyncio.ensure_future(host.call(order, "again"))
        await until(lambda: "again" in desk.told)
        for version in ("2.0.0", "3.0.0", "4.0.0"):
            await host.deploy("orders", version, text.replace('"follow"', '"wrong"'))
        go.set()
        await call
        await quiet(host)
        assert desk.told[-1] == "follow"
        await until(lambda: [r.version for r in host.engine.registry.retained] == ["3.0.0"])


async def test_an_undo_that_hangs_is_cut_at_its_timeout_and_named(desk):
    desk.replies |= {"pack": Refused("no"), "refund": never}
    text = TEXT.replace("@pay.undo(retries=1, backoff=3)", "@pay.undo(retries=1, timeout=0.02)")
    async with memory_host(values={"say": desk}) as host:
        await host.deploy("orders", "1.0.0", text)
        order = await host.create("Order")
        flow = await host.wait(order, 5)
        assert flow.state is FlowState.COMPENSATION_FAILED
        assert flow.error.startswith("undo of pay: ")
        assert desk.running == 0


async def test_a_reset_names_what_it_does_not_know_and_reaches_what_is_not_loaded(shop):
    await shop.create("Order")
    with pytest.raises(NotFoundError, match="did you mean 'orders'"):
        await shop.reset("order")
    await shop.undeploy("orders")
    assert await shop.reset("orders") == 1


async def test_a_command_that_lets_a_flow_go_on_tells_which(shop, desk):
    order = await shop.create("Order", approved=False)
    await until(lambda: desk.told == ["pay"])
    spec = shop.spec("Order")
    outcome = await shop.engine.command(spec, order.id, spec.commands["approve"], None)
    (flow, _), *_ = await shop.flows(order)
    assert outcome.flow == flow.id


async def test_answers_of_idempotent_requests_are_forgotten_after_a_day():
    store = MemoryStore()
    await store.open()
    made = datetime.now(UTC)

    def answer(key, hours):
        created = (made - timedelta(hours=hours)).isoformat(timespec="milliseconds")
        return Answer(
            key=key,
            fingerprint="f",
            status=201,
            headers=(),
            body=b"{}",
            created=created.replace("+00:00", "Z"),
        )

    await store.commit(Commit(answers=[answer("old", 25), answer("young", 23)]))
    async with memory_host(store=store) as host:
        await until(lambda: "old" not in store._answers)
        assert await host.engine.answer("young") is not None


@pytest.mark.parametrize("name", ["flow", "schedule", "once", "journal"])
async def test_a_component_is_not_called_as_the_host_calls_its_own_things(host, name):
    with pytest.raises(ComponentError, match="choose another name"):
        await host.deploy(name, "1.0.0", "from aegis import Model\nclass Note(Model): ...\n")
