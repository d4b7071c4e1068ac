"""Seals the stored records anew with a new key, in batches, while the host goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from aegis.core.component import ModelSpec
from aegis.core.errors import ConflictError
from aegis.core.moving import Progress
from aegis.core.query import Query, read_cursor
from aegis.core.record import Record
from aegis.core.registry import Registry
from aegis.core.sealing import Vault
from aegis.engine.ledger import Draft, Ledger
from aegis.protocols import Commit, Put, Store

BATCH = 100  # records sealed in one commit


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of keys came to: the id of the new one, and how many records it seals."""

    key: str
    records: int


class Rotation:
    """The change of keys of one host, one at a time.

    Old keys stay in the ring: they open what is sealed beside events, and records until these have
    their turn. So whoever is cut off has lost nothing, and the next change seals all of it.
    """

    def __init__(self, store: Store, ledger: Ledger, vault: Vault | None) -> None:
        self._store = store
        self._ledger = ledger
        self._vault = vault
        self._running = asyncio.Lock()

    async def rotate(self, registry: Registry, told: Progress) -> Rotated:
        """Seal with a new key from now on, and the records of live models anew. See Host."""
        places = self._ledger.elsewhere.places
        specs = [
            spec
            for spec in registry.models.values()
            if spec.sealing is not None and spec.key not in places
        ]
        if self._vault is None or not specs:
            raise ConflictError("no model that is live and kept here has sealed fields")
        if self._running.locked():
            raise ConflictError("the keys are being changed", hint="wait for the end of that")
        async with self._running:
            counts = [await self._store.count(spec.key) for spec in specs]
            key = self._vault.rotate()
            # Once this is stored, so is all that was sealed with the key before.
            await self._store.commit(Commit())
            done = 0
            for spec in specs:
                async for seen, sealed in self._each(spec, key):
                    done += sealed
                    told(seen + sum(counts[: specs.index(spec)]), sum(counts))
        return Rotated(key=key, records=done)

    async def _each(self, spec: ModelSpec, key: str) -> AsyncIterator[tuple[int, int]]:
        """Seal a model's records batch by batch: how many were seen, and how many sealed anew."""
        sealing, after, seen = spec.sealing, None, 0
        assert sealing is not None  # noqa: S101 -- such a model was chosen
        sealed: list[str] = []

        def again(draft: Draft, record: Record) -> None:
            if sealing.keys(record.sound().doc) <= {key}:
                return  # written meanwhile
            doc = sealing.sealed(record.id, sealing.opened(record.id, record.doc))
            # It is the same data: neither its revision nor its times move.
            draft.commit.puts.append(Put(msgspec.structs.replace(record, doc=doc), record.revision))
            sealed.append(record.id)

        while True:
            page = await self._store.list(spec.key, Query(limit=BATCH, after=after))
            if page.items:
                await self._ledger.rewrite([(spec.key, one.id) for one in page.items], again)
            seen += len(page.items)
            yield seen, len(sealed)
            sealed.clear()
            if page.next is None:
                return
            after = read_cursor(page.next, ())
