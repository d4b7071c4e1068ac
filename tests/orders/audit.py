"""Compares what clients were answered with what partners did: what a kill must not break.

It knows the clients' ledger, the partners' ledger, and how each order and its flows ended.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from tests.orders.clients import ORDERS, Said
from tests.orders.sandbox import DOES, UNDOES
from tests.orders.served import Served

OPEN = {"waiting", "ready", "asked"}
UNDONE_BY = {undo: done for done, undo in UNDOES.items()}


class Asked(NamedTuple):
    """One line of the partners' ledger."""

    operation: str
    key: str
    outcome: str
    amount: str | None


class End(NamedTuple):
    """How an order stands over HTTP."""

    status: str
    revision: int
    flows: Sequence[Mapping[str, Any]]


Partners = Mapping[str, Sequence[Asked]]
"""What partners were asked, by order."""


def read_partners(ledger: Path) -> Partners:
    """The partners' ledger as it is on disk."""
    orders: defaultdict[str, list[Asked]] = defaultdict(list)
    for text in ledger.read_text().splitlines():
        line = json.loads(text)
        asked = Asked(line["operation"], line["key"], line["outcome"], line.get("amount"))
        orders[line["order"]].append(asked)
    return orders


def read_end(served: Served, order: str) -> End:
    """How an order and its flows stand now."""
    status, record = served.ask("GET", f"{ORDERS}/{order}")
    if status != 200:
        return End("lost", 0, [])
    _, flows = served.ask("GET", f"{ORDERS}/{order}/flows")
    return End(record["status"], record["_meta"]["revision"], flows["items"])


def complaints(said: Sequence[Said], partners: Partners, ends: Mapping[str, End]) -> Iterator[str]:
    """Everything that is not as promised."""
    for order in partners.keys() - ends.keys():
        yield f"partners know order {order}, of which no client was told"
    by_key: defaultdict[str, list[Said]] = defaultdict(list)
    by_order: defaultdict[str, list[Said]] = defaultdict(list)
    for one in said:
        by_key[one.key].append(one)
        by_order[one.order].append(one)
    for key, answers in by_key.items():
        yield from _one_answer(key, answers)
    for order, end in ends.items():
        for complaint in (
            *_kept(by_order[order], end),
            *_each_once(partners.get(order, ())),
            *_ended(end),
            *_whole(by_order[order], partners.get(order, ()), end),
        ):
            yield f"order {order}: {complaint}"


def _one_answer(key: str, answers: Sequence[Said]) -> Iterator[str]:
    """Whoever asks again is answered alike."""
    for one in answers:
        if one.status not in ({201} if one.what == "create" else {200, 409}):
            yield f"{one.what} under {key} was answered {one.status}"
    taken = {(one.status, one.order, one.revision) for one in answers if one.status < 300}
    if len(taken) > 1:
        yield f"{key} was answered differently: {sorted(taken)}"


def _kept(said: Sequence[Said], end: End) -> Iterator[str]:
    """What was acknowledged is there."""
    for one in said:
        if one.revision is not None and one.revision > end.revision:
            yield f"{one.what} was acknowledged at revision {one.revision}, it has {end.revision}"
    taken = {one.what for one in said if one.status < 300}
    refused = {one.what for one in said if one.status == 409}
    if "cancel" in taken and end.status != "CANCELED":
        yield f"cancel was acknowledged, but it is {end.status}"
    if "approve" in refused - taken and end.status != "CANCELED":
        yield f"approve was refused, but it is {end.status}"
    if "cancel" in refused - taken and any(f["error"] == "undone by cancel" for f in end.flows):
        yield "cancel was refused, but it was canceled"


def _each_once(asked: Sequence[Asked]) -> Iterator[str]:
    """Every effect happens once, and its repeats and its undo have the same key."""
    keys: defaultdict[str, set[str]] = defaultdict(set)
    effects: defaultdict[str, int] = defaultdict(int)
    for one in asked:
        keys[UNDONE_BY.get(one.operation, one.operation)].add(one.key)
        effects[one.operation] += one.outcome in {"done", "undone"}
    for operation, known in keys.items():
        if len(known) > 1:
            yield f"{operation} was asked for under {len(known)} keys: {sorted(known)}"
    for operation, count in effects.items():
        if count > 1:
            yield f"{operation} had its effect {count} times"


def _ended(end: End) -> Iterator[str]:
    """Every flow ended, and as its order says."""
    for flow in end.flows:
        if flow["state"] not in {"completed", "compensated"}:
            yield f"flow {flow['id']} is {flow['state']}: {flow['error']}"
        for step in flow["steps"]:
            if step["state"] in OPEN:
                yield f"flow {flow['id']}: step {step['port']} is {step['state']}"
    states = [flow["state"] for flow in end.flows]
    if end.status == "COMPLETE" and states != ["completed"]:
        yield f"it is COMPLETE, but its flows are {states}"
    if end.status == "CANCELED" and (states[0], states[-1]) != ("compensated", "completed"):
        yield f"it is CANCELED, but its flows are {states}"


def _whole(said: Sequence[Said], asked: Sequence[Asked], end: End) -> Iterator[str]:
    """A complete order has all of everything, a canceled one nothing."""
    done = [one.operation for one in asked if one.outcome == "done"]
    undone = [one.operation for one in asked if one.outcome == "undone"]
    if end.status == "COMPLETE":
        if done != list(DOES):
            yield f"it is COMPLETE, but done was {done}"
        if undone:
            yield f"it is COMPLETE, but undone was {undone}"
        amounts = {Decimal(one.amount or 0) for one in asked if one.operation == "payment/capture"}
        if not amounts <= {Decimal(0), *(Decimal(one.amount) for one in said)}:
            yield f"{amounts} was captured"
    elif end.status == "CANCELED":
        if undone != [UNDOES[operation] for operation in reversed(done) if operation in UNDOES]:
            yield f"it is CANCELED; done was {done}, undone {undone}"
    else:
        yield f"it is {end.status}"
