"""What cannot be stored is told by its field, and nothing of it is kept."""

import pytest

from aegis.api.router import Router
from aegis.core.errors import CorruptError, InvalidError
from aegis.core.record import Record
from aegis.protocols import Commit, Put
from aegis.testing import memory_host
from tests.api.conftest import Caller

TREES = """
from typing import Any
from aegis import Model, command

class Tree(Model, endpoint="trees"):
    name: str = ""
    more: "list[Tree]" = []
    any: Any = None

    @command
    def grow(self, depth: int) -> "Tree":
        deep: list[Any] = []
        for _ in range(depth):
            deep = [deep]
        return self.update(any=deep)

    @command
    def rename(self, to: str) -> "Tree":
        return self.update(name="\\ud800" + to)

    @command
    def spoil(self) -> "Tree":
        return self.update(any=object())
"""


@pytest.fixture
async def host():
    async with memory_host() as host:
        await host.deploy("trees", "1.0.0", TREES)
        yield host


@pytest.fixture
def call(host):
    return Caller(Router(host, token=None))


def nested(depth):
    deep = []
    for _ in range(depth):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    "body",
    [
        b'{"any":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"more":' + b'[{"more":' * 50_000 + b"[]" + b"}]" * 50_000 + b"}",
        b'{"what":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 200_000,
    ],
    ids=["any", "records", "unknown", "open"],
)
async def test_a_body_of_nothing_but_brackets_is_refused(host, call, body):
    answer = await call(
        "POST", "/aegis/api/models/trees", body=body, content_type="application/json"
    )
    assert answer.status in (400, 422)
    assert await host.count("Tree") == 0
    assert host.store.last_seq() == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("any", nested(5_000), r"nested too deep - at `\$\.any`"),
        ("name", "\ud800", r"Expected Unicode text - at `\$\.name`"),
        ("any", object(), r"unsupported - at `\$\.any`"),
        ("any", {(1, 2): {3: object()}}, r"at `\$\.any`"),
    ],
)
async def test_a_value_that_json_cannot_hold_is_told_by_its_field(host, name, value, said):
    with pytest.raises(InvalidError, match=said):
        await host.create("Tree", **{name: value})
    tree = await host.create("Tree", id="t")
    with pytest.raises(InvalidError, match=said):
        await host.update(tree, **{name: value})
    assert await host.count("Tree") == 1
    assert host.engine.get(host.spec("Tree"), "t").revision == 1


@pytest.mark.parametrize(
    ("command", "given", "pointer"),
    [
        ("grow", {"depth": 5_000}, "/any"),
        ("rename", {"to": "x"}, "/name"),
        ("spoil", {}, "/any"),
    ],
)
async def test_what_code_returns_is_checked_as_well(host, call, command, given, pointer):
    await host.create("Tree", id="t")
    answer = await call("POST", f"/aegis/api/models/trees/t/commands/{command}", given)
    assert (answer.status, answer.json["pointer"]) == (422, pointer)
    assert host.engine.get(host.spec("Tree"), "t").revision == 1
    assert host.store.last_seq() == 1


async def test_a_stored_document_of_nothing_but_brackets_is_damaged_by_name(host, call):
    spec, now = host.spec("Tree"), "2026-11-23T10:00:00.000Z"
    doc = b'{"id":"bomb","any":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    bomb = Record(model=spec.key, id="bomb", revision=1, created=now, updated=now, doc=doc)
    await host.store.commit(Commit(puts=[Put(bomb, 0)]))
    with pytest.raises(CorruptError, match=r"trees\.Tree 'bomb' is damaged"):
        await host.get("Tree", "bomb")
    assert (await call("GET", "/aegis/api/models/trees/bomb")).status == CorruptError.status
    deleted = await call("DELETE", "/aegis/api/models/trees/bomb", if_match='"1"')
    assert deleted.status == 204
    assert await host.count("Tree") == 0
