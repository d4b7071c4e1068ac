"""`aegis traps`: the calls that a component's sandbox stopped, and one of them again."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from itertools import zip_longest
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from aegis.cli.terminal import add_host, ask, say, verb
from aegis.core.guest import TrapOutcome
from aegis.core.wire import TrapLine

if TYPE_CHECKING:
    from argparse import _SubParsersAction


class _Traps(msgspec.Struct):
    items: list[TrapLine]


def add_traps(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the word about stopped calls."""
    text = "list the calls that a component's sandbox stopped, or make one again"
    made = verb(words, "traps", _traps, text)
    made.add_argument("name", help="the component")
    made.add_argument("--replay", type=int, metavar="N", help="make this one again, and tell")
    add_host(made)


def _traps(options: Namespace) -> None:
    path = f"/aegis/api/components/{quote(options.name, safe='')}/traps"
    if options.replay is not None:
        answer = ask(options, "POST", f"{path}/{options.replay}/replay", b"")
        _tell(msgspec.json.decode(answer, type=TrapOutcome))
        return
    found = msgspec.json.decode(ask(options, "GET", path), type=_Traps).items
    for trap in found:
        head = f"{trap.n}  {trap.time}  {trap.revision}  {trap.function}: {trap.reason}"
        _write(head, trap)
    if not found:
        say(f"no call of {options.name} was stopped")


def _tell(again: TrapOutcome) -> None:
    how = "stopped as then" if again.same else "stopped otherwise"
    reason = again.reason if again.hint is None else f"{again.reason} ({again.hint})"
    what = {"passed": "it passes now", "stopped": f"{how}: {reason}", "error": reason}
    _write(f"{again.n}  {again.revision}  {again.function}: {what[again.outcome]}", again)


def _write(head: str, trap: TrapLine | TrapOutcome) -> None:
    sys.stdout.write(f"{head}\n")
    for frame, place in zip_longest(trap.frames, trap.places, fillvalue=""):
        sys.stdout.write(f"    {frame} ({place})\n" if place else f"    {frame}\n")
