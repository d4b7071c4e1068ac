"""However writes and a migration come to lie: what is stored is migrate of what was written last."""

import asyncio

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.adapters.storage.memory import MemoryStore
from aegis.core.errors import ComponentError
from aegis.testing import memory_host

V1 = """
from typing import Any
from aegis import Model

class Note(Model, endpoint="notes"):
    text: str = ""
    tags: dict[str, Any] | None = None
    size: int = 0
"""
V2 = """
from typing import Any
from aegis import Model

class Note(Model, endpoint="notes"):
    words: list[str]
    tags: list[Any]
    size: int = 0

    @classmethod
    def migrate(cls, old: dict[str, Any]) -> "Note":
        return cls(id=old["id"], words=old["text"].split(), tags=[old["tags"]], size=old["size"])

    @classmethod
    def unmigrate(cls, new: dict[str, Any]) -> dict[str, Any]:
        return {"text": " ".join(new["words"]), "tags": new["tags"][0], "size": new["size"]}
"""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
TEXTS = st.text(st.sampled_from("ab é\t\n\u3000𝄞"), max_size=12)
WRITES = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(["put", "put", "put", "drop"]),
        TEXTS,
        st.none() | st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    ),
    max_size=12,
)


class Restless(MemoryStore):
    """A store in which something is written after each of a migration's first looks at it."""

    def __init__(self):
        super().__init__()
        self.between = []

    async def look(self, question):
        found = await super().look(question)
        if self.between:
            await self.between.pop(0)()
        return found


async def write(host, wanted, writes):
    for id, what, text, tags in writes:
        known = id in wanted
        if what == "drop":
            if known:
                await host.delete(await host.get("Note", id))
                del wanted[id]
            continue
        data = {"text": text, "tags": tags, "size": len(text)}
        if known:
            await host.update(await host.get("Note", id), **data)
        else:
            await host.create("Note", id=id, **data)
        wanted[id] = data


def stored(host, *names):
    found = {id: host.store.get("notes.Note", id) for id in "abcd"}
    docs = {id: msgspec.json.decode(one.doc) for id, one in found.items() if one is not None}
    return {id: [doc[name] for name in names] for id, doc in docs.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(WRITES, min_size=1, max_size=3), st.booleans())
def test_what_is_stored_is_migrate_of_what_was_written_last(parts, change):
    async def run():
        store, wanted = Restless(), {}
        async with memory_host(store=store) as host:
            await host.deploy("notes", "1.0.0", V1)
            await host.create("Note", id="d", text="d d", tags={"d": 1}, size=3)
            wanted["d"] = {"text": "d d", "tags": {"d": 1}, "size": 3}
            first, *rest = parts
            await write(host, wanted, first)
            store.between = [lambda one=one: write(host, wanted, one) for one in rest]
            if not wanted:
                return
            try:
                await asyncio.wait_for(host.deploy("notes", "2.0.0", V2), 5)
            except ComponentError:
                raise AssertionError("nothing here cannot be migrated") from None
            store.between = []
            if host.engine.registry.live["notes"].version != "2.0.0":
                raise AssertionError("it was not swapped")
            new = {
                id: [data["text"].split(), [data["tags"]], data["size"]]
                for id, data in wanted.items()
            }
            assert stored(host, "words", "tags", "size") == new
            if not wanted:
                return
            changed = min(wanted) if change else None
            if changed is not None:
                await host.update(await host.get("Note", changed), size=-1)
            await host.rollback("notes")
            old = {id: [data["text"], data["tags"], data["size"]] for id, data in wanted.items()}
            if changed is not None:
                words = " ".join(wanted[changed]["text"].split())
                old[changed] = [words, wanted[changed]["tags"], -1]
            assert stored(host, "text", "tags", "size") == old

    asyncio.run(run())
