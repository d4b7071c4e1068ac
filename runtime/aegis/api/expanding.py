"""Records as they leave the host, with what they relate to in the place that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aegis.core.component import ModelSpec
from aegis.core.errors import BadRequestError, closest
from aegis.core.record import Record
from aegis.engine.engine import Engine

MAX_DEPTH = 3  # relations of relations
MAX_RELATIONS = 20

# What to expand: relations by name, with those of what they lead to.
Tree = Mapping[str, "Tree"]


def read_tree(engine: Engine, spec: ModelSpec, text: str) -> Tree:
    """What `customer,items.orders` means for a model. Raises BadRequestError naming the word."""
    tree: dict[str, Any] = {}
    words = [word.strip() for word in text.split(",") if word.strip()]
    if len(words) > MAX_RELATIONS:
        raise BadRequestError(f"expand takes up to {MAX_RELATIONS} relations", parameter="expand")
    for word in words:
        names = word.split(".")
        if len(names) > MAX_DEPTH:
            raise BadRequestError(
                f"expand goes up to {MAX_DEPTH} relations deep", parameter="expand"
            )
        place, model = tree, spec
        for name in names:
            relation = model.relations.get(name)
            if relation is None:
                there = ", ".join(model.relations) or "it has none"
                raise BadRequestError(
                    f"{model.name} has no relation {name[:80]!r} to expand",
                    hint=closest(name, model.relations) or f"there are: {there}",
                    parameter="expand",
                )
            place, model = place.setdefault(name, {}), engine.reach.target(relation)
    return tree


async def expanded(
    engine: Engine,
    spec: ModelSpec,
    records: Sequence[Record],
    tree: Tree,
    names: tuple[str, ...] | None = None,
) -> list[bytes]:
    """Each record as JSON, with the members that `tree` names: an object, null or a list.

    A relation costs one query, however many records there are.
    """
    shown = [spec.shown(record, names) for record in records]
    values = [spec.value(record) for record in records] if tree else []
    for name, inner in tree.items():
        relation = spec.relations[name]
        target, found = await engine.reach.each(relation, values)
        each = {one.id: one for related in found for one in related}
        texts = await expanded(engine, target, list(each.values()), inner)
        text_of = dict(zip(each, texts, strict=True))
        for n, related in enumerate(found):
            items = [text_of[one.id] for one in related]
            member = b"[%b]" % b",".join(items) if relation.many else (items or [b"null"])[0]
            shown[n] = b"%b,%b:%b}" % (shown[n][:-1], msgspec.json.encode(name), member)
    return shown
