"""A deployment as a record, and whether stored records fit new code."""

from __future__ import annotations

from typing import Any

import msgspec

from aegis.core.component import Language
from aegis.core.migration import Migrated
from aegis.core.schema import bare, properties
from aegis.core.signature import Signed


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment of a component on this host: what, from where, by whom, when.

    `live` is false once it was undeployed or replaced; `number` counts up over all components.
    `migrated` is what became of stored records with it, None when they fitted. `signed` says who
    signed it, None where nobody had to, `resolved` what the address in `origin` was then: a commit,
    an address. `language` is what the code is.
    """

    number: int
    component: str
    version: str
    digest: str
    origin: str
    who: str
    time: str
    live: bool = True
    migrated: Migrated | None = None
    signed: Signed | None = None
    resolved: str = ""
    language: Language = "python"


def schema_problems(model: str, stored: bytes, new: bytes, records: int) -> list[str]:
    """What keeps the `records` stored records of `model` from fitting the new schema.

    A new field with a default fits; a removed, retyped or newly required one does not.
    """
    if stored == new or records == 0:
        return []
    old_document, new_document = msgspec.json.decode(stored), msgspec.json.decode(new)
    old_fields = _properties(old_document)
    new_fields = _properties(new_document)
    required = set(new_document["schema"].get("required", ()))
    count = f"{records} stored record{'s' if records != 1 else ''} would not fit"
    drop = f"or drop the data with `%aegis reset {model.split('.', 1)[0]}`"
    write = f"write `migrate` in {model.split('.', 1)[1]}"
    ways = f"{count}; keep the field as it was, {write}, {drop}"
    problems = [
        f"{model}.{name} was removed: {ways}" for name in old_fields if name not in new_fields
    ]
    problems += [
        f"{model}.{name} has another type or constraint than the stored records: {ways}"
        for name in old_fields
        if name in new_fields and old_fields[name] != new_fields[name]
    ]
    problems += [
        f"{model}.{name} is new and has no default: {count}; give it a default, {write}, {drop}"
        for name in new_fields
        if name not in old_fields and name in required
    ]
    return problems


def _properties(document: dict[str, Any]) -> dict[str, Any]:
    known = properties(document["schema"], document.get("definitions", {}))
    return {name: bare(schema) for name, schema in known.items()}
