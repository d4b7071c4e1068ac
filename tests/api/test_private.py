"""What is private: a planted secret is looked for on every surface, by every way to ask for it."""

import asyncio
import base64
import itertools
import json
import logging
from urllib.parse import quote

import pytest

from aegis.adapters.analyst.duckdb import DuckAnalyst
from aegis.adapters.cipher import AesCipher, random_key
from aegis.adapters.clock import SystemClock
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.graph.svg import render
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.adapters.vault import AesVault, FileKeeper
from aegis.api.router import Router
from aegis.api.session import Sessions
from aegis.core.errors import BadRequestError, InvalidError
from aegis.engine.deploys import Limits
from aegis.engine.host import Host
from aegis_kernel.display import Records, record_html, record_text
from aegis_kernel.past import PastView
from tests.api.conftest import Caller
from tests.api.test_session import View
from tests.engine.shop import until

USERS = "/aegis/api/models/users"
SECRET, OTHER, CARD = "S3CRET-4711", "S3CRET-0815", "CARD-1234-5678"
SECRETS = (SECRET, OTHER, "S3CRET", "4711.25", "Geheimgasse")
TEXT = """
from decimal import Decimal
from typing import Annotated, Literal, Protocol
import msgspec
from aegis import (
    Event, Model, Refused, adapter, command, derived, encrypted, frozen, on, port, private,
    relation, unique,
)

class Home(msgspec.Struct):
    street: str

class Mail(Protocol):
    def send(self, text: str) -> str: ...

class Post(Mail):
    def send(self, text: str) -> str:
        return text

class User(Model, endpoint="users", concurrency="last-wins", index="name"):
    name: str
    ssn: Annotated[str, private, unique]
    salary: Annotated[Decimal, private] = Decimal(0)
    home: Annotated[Home | None, private] = None
    grade: Annotated[Literal["A", "B"], private] = "A"
    card: Annotated[str | None, encrypted] = None
    status: str = "NEW"
    digits: Annotated[int, derived(lambda user: len(user.ssn))] = 0

    @port(consumes="user.created", produces="user.greeted")
    def greet(self, mail: Mail = adapter()) -> "User":
        mail.send(self.ssn)
        return self.update(status="GREETED")

    @greet.undo
    def ungreet(self, mail: Mail = adapter()) -> "User":
        return self.update(status="UNGREETED", salary=self.salary + 1)

    @port(consumes="user.greeted")
    def check(self) -> "User":
        if self.name == "bad":
            raise Refused("no good")
        return self.update(salary=self.salary)

    @command(produces="user.changed")
    def change(self, ssn: str) -> "User":
        return self.update(ssn=ssn)

class Visit(Model, endpoint="visits"):
    user_id: str
    user = relation(User, via="user_id")

@on("user.changed", retries=0)
def stumble(event: Event) -> None:
    raise ValueError("it never works")
"""


@pytest.fixture
async def host(tmp_path):
    data = tmp_path / "data"
    host = Host(
        store=SqliteStore(data),
        clock=SystemClock(),
        loader=PythonLoader(),
        cipher=AesCipher(random_key()),
        vault=AesVault(FileKeeper(data)),
        scratch=MemoryStore,
        analyst=DuckAnalyst,
        limits=Limits(grace=0.1),
    )
    async with host:
        await host.deploy("users", "1.0.0", TEXT)
        yield host


@pytest.fixture
def call(host):
    return Caller(Router(host, token=None))


def data(name="good", ssn=SECRET, **more):
    home = {"street": "Geheimgasse 1"}
    return {"name": name, "ssn": ssn, "salary": "4711.25", "home": home, "card": CARD, **more}


async def lived(host, call):
    """Users through all that can happen to one; their ids. What was answered is in `call.said`."""
    ids = []
    for name, ssn in (("good", SECRET), ("bad", OTHER), ("gone", "S3CRET-gone")):
        made = await call(
            "POST", USERS, data(name, ssn), prefer="wait=5", idempotency_key=f"key-{name}"
        )
        assert made.status == 201, made.body
        ids.append(made.json["id"])
    good, bad, gone = ids
    again = await call("POST", USERS, data(), idempotency_key="key-good")
    assert (again.status, again.json["card"]) == (201, CARD)
    patched = await call("PATCH", f"{USERS}/{good}", {"salary": "4711.25", "ssn": "S3CRET-new"})
    assert patched.status == 200
    assert "ssn" not in patched.json
    changed = await call("POST", f"{USERS}/{good}/commands/change", {"ssn": SECRET})
    assert changed.status == 200
    await call("DELETE", f"{USERS}/{gone}")
    async with asyncio.timeout(10):
        while len(await host.failed()) < 2:  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0.01)
    return [good, bad]


async def answers(host, call, ids):
    """What each route answers, of all that is there, and each message of a session."""
    said = {}

    async def ask(method, path, body=..., **headers):
        answer = await call(method, path, body, **headers)
        if answer.response.stream is not None:
            pieces, stream = [], answer.response.stream()
            with_end = path.startswith(USERS)
            while True:
                try:
                    async with asyncio.timeout(10 if with_end else 1):
                        pieces.append(await anext(stream))
                except (StopAsyncIteration, TimeoutError):
                    break
            answer.body = b"".join(pieces)
        said[f"{method} {path} {body} {headers}"] = answer
        return answer

    good, _ = ids
    flows = [flow.id for id in ids for flow, _ in (await host.store.flows("users.User", id))]
    last = host.store.last_seq()
    for id in ids:
        await ask("GET", f"{USERS}/{id}")
        await ask("GET", f"{USERS}/{id}/flows")
        await ask("GET", f"/aegis/api/why/{id}?model=User")
        for seq in range(1, last + 1):
            await ask("GET", f"{USERS}/{id}?at={seq}")
    for flow in flows:
        await ask("GET", f"/aegis/api/flows/{flow}")
        await ask("POST", "/aegis/api/replays", {"id": flow})
    for query in ("", "?fields=id,name,card,digits", "?sort=-name&count=true", f"?card={CARD}"):
        await ask("GET", f"{USERS}{query}")
        await ask("GET", f"{USERS}{query}", accept="application/x-ndjson")
    visit = await ask("POST", "/aegis/api/models/visits", {"user_id": good})
    assert visit.status == 201, visit.body
    visits = f"/aegis/api/models/visits/{visit.json['id']}"
    for path in (f"{visits}?expand=user", f"{visits}/user", "/aegis/api/models/visits?expand=user"):
        assert CARD.encode() in (await ask("GET", path)).body
    made = data(name="kin", ssn="S3CRET-kin")
    again = [
        await ask("POST", f"{visits}/user", made, idempotency_key="kin", n=str(n)) for n in "12"
    ]
    assert [one.status for one in again] == [201, 201], again[0].body
    assert again[0].json == again[1].json
    await ask("GET", "/aegis/api/events?limit=1000")
    await ask("GET", "/aegis/api/events?after=0", accept="text/event-stream")
    await ask("GET", "/aegis/api/failed")
    for failed in await host.failed():
        await ask("GET", f"/aegis/api/failed/{quote(failed.id, safe='')}")
    for path in ("openapi.json", "graph", "state", "status", "components", "deployments"):
        await ask("GET", f"/aegis/api/{path}")
    wrong = [
        {"ssn": SECRET, "nme": 1},
        data(grade=SECRET),
        data(ssn=SECRET),
        data(salary=SECRET),
        data(home={"street": 5, "x": SECRET}),
    ]
    for body in wrong:
        assert (await ask("POST", USERS, body)).status in (409, 422)
        body.pop("name", None)
        await ask("PATCH", f"{USERS}/{good}", body)
    return said


def planted(text, secrets=SECRETS):
    """Which secrets are in a text, in the clear or as base64 would have it."""
    raw = text if isinstance(text, bytes) else str(text).encode()
    found = [secret for secret in secrets if secret.encode() in raw]
    for secret, shift in itertools.product(secrets, range(3)):
        coded = base64.b64encode(b"\0" * shift + secret.encode())[(shift * 4 + 2) // 3 + 1 : -4]
        if len(coded) > 5 and coded in raw:
            found.append(f"base64 {secret}")
    return found


async def test_no_answer_of_a_route_holds_what_is_private(host, call):
    ids = await lived(host, call)
    said = await answers(host, call, ids)
    leaks = {asked: planted(one.body) for asked, one in said.items() if planted(one.body)}
    assert leaks == {}
    # It is there all the same: component code has it, and who may have the card gets it.
    found = await host.list("User", sort="name")
    assert [user.ssn for user in found] == [OTHER, SECRET, "S3CRET-kin"]
    shown = said[f"GET {USERS}/{ids[0]} Ellipsis {{}}"].json
    assert (shown["card"], shown["digits"]) == (CARD, len(SECRET))
    assert not {"ssn", "salary", "home", "grade"} & shown.keys()
    assert sum(one.status == 200 for one in said.values()) > 40
    replays = [one.json for asked, one in said.items() if "replays" in asked]
    assert [one["same"] for one in replays] == [True, True], replays


async def test_no_message_of_a_session_holds_what_is_private(host, call):
    sessions = Sessions(host, render)
    view = View(sessions).open()
    await until(lambda: view.frames)
    ids = await lived(host, call)
    for seq in range(1, host.store.last_seq() + 1):
        await view.ask("event", seq=seq)
    for id in ids:
        await view.ask("why", id=id)
        for flow, _ in await host.store.flows("users.User", id):
            detail = await view.done("flow", id=flow.id)
            assert detail["record"]["card"] == CARD
            await view.ask("replay", id=flow.id)
    for failed in await host.failed():
        detail = await view.done("failed", id=failed.id)
        if failed.kind == "flow":
            # What is offered to be edited is taken back as it is.
            assert not {"ssn", "digits"} & detail["input"].keys()
            again = {name: value for name, value in detail["input"].items() if name != "id"}
            await view.done("retry", id=failed.id, data={**again, "name": "good"})
    for verb in ("description", "picture", "groups"):
        await view.ask(verb)
    target = "command:users.User.change"
    await view.ask("invoke", target=target, record=ids[0], arguments={"ssn": OTHER})
    await view.ask("invoke", target=target, record=ids[0], arguments={"ssn": 5, "x": SECRET})
    for n in range(20):
        await view.ask("log", n=n)
    await asyncio.sleep(0.3)
    sessions.close("the test is over")
    heard = [json.dumps(message, ensure_ascii=False) for message in view.heard]
    assert len(heard) > 20
    assert [text for text in heard if planted(text)] == []


async def test_a_flow_without_its_code_shows_nothing_sealed(host, call):
    ids = await lived(host, call)
    ((flow, _),) = await host.store.flows("users.User", ids[0])
    sessions = Sessions(host, render)
    view = View(sessions).open()
    await until(lambda: view.frames)
    await host.undeploy("users")
    detail = await view.done("flow", id=flow.id)
    sessions.close("the test is over")
    assert {"name", "status", "_meta"} <= detail["record"].keys()
    assert not {"ssn", "salary", "home", "grade", "card"} & detail["record"].keys()


async def test_logs_prints_tables_and_sql_hold_nothing_that_is_sealed(host, call, caplog):
    caplog.set_level(logging.DEBUG)
    ids = await lived(host, call)
    user = await host.get("User", ids[0])
    past = await host.at(host.store.last_seq(), ids[0], "User")
    users = Records(await host.list("User"))
    texts = [
        repr(user),
        str(user),
        f"{[user]}",
        record_html(user),
        record_text(user),
        users._repr_html_(),
        str(past),
        PastView(past).html(),
        str(await host.why(user)),
        *map(str, await host.failed()),
        *map(str, await host.events("*", limit=1000)),
    ]
    for seq in (None, host.store.last_seq()):
        for table in ("users", "events", "flows", "steps", 'users."User"'):
            if seq is None or table not in ("flows", "steps"):
                answer = await host.sql(f"select * from {table}", at=seq)
                assert answer.rows()
                texts.append(f"{answer.columns} {answer.rows()}")
                assert "card" not in answer.columns
    texts += [f"{record.getMessage()} {record.exc_text}" for record in caplog.records]
    assert [text for text in texts if planted(text, (*SECRETS, CARD))] == []
    assert "ssn=<private>" in repr(user)
    assert "card=<encrypted>" in repr(user)
    assert (user.ssn, user.card) == (SECRET, CARD)


async def test_nothing_on_disk_holds_what_is_sealed(host, call, tmp_path):
    ids = await lived(host, call)
    await answers(host, call, ids)
    # What cannot be stored is seen on disk no more than what is.
    await call("POST", USERS, data(), idempotency_key="key-twice")
    await host.export(str(tmp_path / "export.ndjson"))
    await host.backup(str(tmp_path / "backup"))
    sealed = (*SECRETS, CARD)

    def found():
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any(path.name.endswith("-wal") for path in files) or host.store._is_open is False
        return {str(path): leaks for path in files if (leaks := planted(path.read_bytes(), sealed))}

    assert found() == {}
    await host.close()
    assert found() == {}
    keys = tmp_path / "backup" / "fields.key"
    assert keys.read_bytes() == (tmp_path / "data" / "fields.key").read_bytes()
    assert keys.stat().st_mode & 0o777 == 0o600


def asked(field, op, value):
    """Ways to ask for a field over HTTP."""
    name = field if op == "eq" else f"{field}.{op}"
    yield f"?{quote(name)}={quote(value)}"
    yield f"?where={quote(json.dumps({name: value}))}"
    yield f"?where={quote(json.dumps({'not': {name: value}}))}"
    yield f"?where={quote(json.dumps({'any': [{name: value}, {'name': 'good'}]}))}"


OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "in", "prefix", "contains", "exists", "has")


@pytest.mark.parametrize(
    "field", ["ssn", "ssn.h", "ssn.c", "ssn.k", "salary", "home", "home.street", "grade"]
)
async def test_nobody_can_ask_for_a_private_field_over_http(host, call, field):
    await lived(host, call)
    values = {"salary": ("4711.25", "1"), "grade": ("A", "B")}.get(field, (SECRET, "nothing"))
    for op in OPERATORS:
        told = []
        for value in values:
            for query in asked(field, op, value):
                for headers in ({}, {"accept": "application/x-ndjson"}):
                    answer = await call("GET", USERS + query, **headers)
                    assert answer.status == 400, (query, answer.body)
                    assert planted(answer.body, SECRETS) == []
                    told.append(answer.body)
        # The right value and a wrong one get the same answer.
        assert told[: len(told) // 2] == told[len(told) // 2 :]
    for query in (
        f"?sort={field}",
        f"?sort=-{field},name",
        f"?fields=id,{field}",
        f"?expand={field}",
    ):
        answer = await call("GET", USERS + query)
        assert answer.status == 400, query
    parameters = (await call("GET", "/aegis/api/openapi.json")).json["paths"][USERS]["get"]
    named = {one.get("name", "") for one in parameters["parameters"]}
    assert not [name for name in named if name.partition(".")[0] == field.partition(".")[0]]


async def test_component_code_asks_for_equal_values_and_nothing_else(host, call):
    good, bad = await lived(host, call)

    async def found(**filters):
        return sorted(user.id for user in await host.query("User", **filters))

    assert await found(ssn=SECRET) == [good]
    assert await found(ssn__in=[SECRET, OTHER, "x"]) == sorted([good, bad])
    assert await found(ssn__ne=SECRET) == [bad]
    assert await found(salary="4711.250") == [good]
    assert await found(card=CARD, ssn__exists=True) == sorted([good, bad])
    assert await found(home__exists=False) == []
    assert await host.count("User", ssn=OTHER) == 1
    for op in ("lt", "le", "gt", "ge", "prefix", "contains"):
        for field in ("ssn", "card"):
            with pytest.raises(BadRequestError, match=f"User.{field} is sealed where it is stored"):
                await found(**{f"{field}__{op}": SECRET})
    with pytest.raises(BadRequestError, match="nothing can sort by it"):
        await found(sort="card")
    with pytest.raises(BadRequestError) as wrong:
        await found(grade=SECRET)
    assert SECRET not in str(wrong.value)
    with pytest.raises(InvalidError) as invalid:
        await host.create("User", **data(grade=SECRET))
    assert SECRET not in str(invalid.value)
    # Over HTTP what is only encrypted can be asked for as well.
    listed = await call("GET", f"{USERS}?card={CARD}&card.exists=true")
    assert len(listed.json["items"]) == 2
    assert (await call("GET", f"{USERS}?card.prefix=CARD")).status == 400


async def test_openapi_says_who_writes_and_who_reads(call):
    schemas = (await call("GET", "/aegis/api/openapi.json")).json["components"]["schemas"]
    record = schemas["users.User"]
    assert not {"ssn", "salary", "home", "grade"} & record["properties"].keys()
    assert "ssn" not in record["required"]
    assert record["properties"]["digits"]["readOnly"] is True
    for kind in ("Create", "Patch"):
        properties = schemas[f"users.User.{kind}"]["properties"]
        assert properties["ssn"]["writeOnly"] is True
        assert "writeOnly" not in properties["card"]
        assert "digits" not in properties


async def test_listeners_hear_that_something_changed_and_not_what(host):
    user = await host.create("User", **data())
    await host.update(user, ssn=OTHER)
    heard = await host.events("user.*")
    updated = next(event for event in heard if event.type == "user.updated")
    assert updated.data["changed"] == {}
    (created, *_) = heard
    assert sorted(created.data["changed"]) == ["digits", "name", "status"]
