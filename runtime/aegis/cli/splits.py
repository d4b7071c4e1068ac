"""`aegis split`, `promote` and `drop`: a candidate beside what is live, and how both do."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from aegis.cli.terminal import add_host, ask, say, verb
from aegis.core.deployment import Deployment
from aegis.core.split import ArmStatus, SplitStatus

if TYPE_CHECKING:
    from argparse import _SubParsersAction


class _Splits(msgspec.Struct):
    items: list[SplitStatus]


def add_splits(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the words about splits."""
    text = "try a candidate on a share of a component's records; without a name, list what is tried"
    made = verb(words, "split", _split, text)
    add = made.add_argument
    add("name", nargs="?", help="the component")
    add("source", nargs="?", help="the address of a candidate (what is here: aegis deploy --split)")
    add("--weight", type=float, metavar="PERCENT", help="its share (default: 10, or as it is)")
    add("--by", metavar="KEY", help="record, or header:NAME: what says who gets the candidate")
    add_host(made)
    for word, run, text in (
        ("promote", _promote, "let what is tried beside what is live serve all"),
        ("drop", _drop, "try a candidate no more; what is live serves all again"),
    ):
        made = verb(words, word, run, text)
        made.add_argument("name", help="the component")
        add_host(made)


def _path(name: str, what: str = "") -> str:
    return f"/aegis/api/components/{quote(name, safe='')}/split{what}"


def _split(options: Namespace) -> None:
    if options.name is None:
        found = msgspec.json.decode(ask(options, "GET", "/aegis/api/splits"), type=_Splits)
        _show(found.items)
        if not found.items:
            say("no component is split")
        return
    if options.source is None and options.weight is None and options.by is None:
        answer = ask(options, "GET", _path(options.name))
    else:
        said = {"source": options.source, "weight": options.weight, "by": options.by}
        terms: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
        answer = ask(options, "PUT", _path(options.name), msgspec.json.encode(terms))
    _show([msgspec.json.decode(answer, type=SplitStatus)])


def _promote(options: Namespace) -> None:
    answer = ask(options, "POST", _path(options.name, "/promote"), b"")
    made = msgspec.json.decode(answer, type=Deployment)
    say(f"{made.component} {made.version} ({made.digest[:8]}) serves all")


def _drop(options: Namespace) -> None:
    ask(options, "DELETE", _path(options.name))
    say(f"what is live of {options.name} serves all again")


def _show(splits: list[SplitStatus]) -> None:
    for line in (line for split in splits for line in shown(split)):
        sys.stdout.write(f"{line}\n")


def shown(split: SplitStatus) -> list[str]:
    """Both sides of a split, a line each."""
    live = _line(split, split.live, "live")
    return [live, _line(split, split.candidate, "candidate")]


def _line(split: SplitStatus, arm: ArmStatus, what: str) -> str:
    times = [f"{name} {time:g} ms" for name, time in (("p50", arm.p50), ("p99", arm.p99)) if time]
    by = "" if split.by == "record" else f" by {split.by}"
    told = [f"{arm.weight:g} %{by}", f"{arm.calls} calls", f"{arm.errors} errors", *times]
    return f"{split.component} {arm.version} {what}: {', '.join(told)}"
