"""Gives loaded models the keys of their sealed fields, and sees that these are the right ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from aegis.core.component import ModelSpec, Revision
from aegis.core.errors import ComponentError, ConfigError, CorruptError, SealError
from aegis.core.query import Query, Term
from aegis.core.record import Record
from aegis.core.rule import ruled_before
from aegis.core.sealing import Sealing, Vault
from aegis.protocols import Store


def sealing(revision: Revision, vault: Vault | None) -> Revision:
    """`revision` with its models able to seal. Raises ComponentError where there are no keys."""
    sealed = [spec for spec in revision.models if spec.rules is not None and spec.rules.sealed]
    if not sealed:
        return revision
    if vault is None:
        raise ComponentError(
            revision.name,
            [f"{spec.name} has sealed fields, and this host has no keys" for spec in sealed],
        )
    return replace(revision, models=tuple(_bound(spec, vault) for spec in revision.models))


def _bound(spec: ModelSpec, vault: Vault) -> ModelSpec:
    if spec.rules is None or not spec.rules.sealed:
        return spec
    return replace(spec, sealing=Sealing(spec.key, spec.rules, vault))


async def check_keys(vault: Vault | None, store: Store, revisions: Iterable[Revision]) -> None:
    """Have the keys ready, made when nothing is sealed yet, and open some of what is stored.

    Raises ConfigError or SealError when the keys are not those that it was sealed with.
    """
    sealed = [spec for one in revisions for spec in one.models if spec.sealing is not None]
    if not sealed or vault is None:
        return
    known = [spec for spec in sealed if ruled_before(await store.schema(spec.key), "sealed")]
    samples = [(spec, await _samples(store, spec)) for spec in known]
    vault.ready(make=not any(found for _, found in samples))
    for spec, found in samples:
        _try(spec, found)


def _try(spec: ModelSpec, records: Sequence[Record]) -> None:
    """Open some records. One that is damaged keeps nobody from the others; another key does."""
    failed: list[tuple[Record, SealError | CorruptError]] = []
    for record in records:
        try:
            spec.opened(record.sound())
        except (SealError, CorruptError) as error:
            failed.append((record, error))
    if len(failed) == len(records) or any("key" in error.fields for _, error in failed):
        for record, cause in failed:
            raise ConfigError(
                f"{spec.key} {record.id!r} was sealed with other keys: {cause.detail}",
                hint="restore fields.key in the data directory, or set keys.fields as it was",
            ) from cause


async def _samples(store: Store, spec: ModelSpec) -> list[Record]:
    """The oldest and the newest record of a model."""
    found = []
    for descending in (False, True):
        sort = (Term("_created", descending=descending),)
        found += (await store.list(spec.key, Query(sort=sort, limit=1))).items
    return found
