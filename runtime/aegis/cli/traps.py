"""`aegis traps`: the calls that a component's sandbox stopped, and one of them again."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from aegis.cli.terminal import add_host, ask, say, verb
from aegis.core.guest import TrapOutcome

if TYPE_CHECKING:
    from argparse import _SubParsersAction


class _Trap(msgspec.Struct):
    n: int
    revision: str
    function: str
    time: str
    reason: str
    frames: tuple[str, ...]


class _Traps(msgspec.Struct):
    items: list[_Trap]


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
        _write(head, trap.frames)
    if not found:
        say(f"no call of {options.name} was stopped")


def _tell(again: TrapOutcome) -> None:
    reason = again.reason if again.hint is None else f"{again.reason} ({again.hint})"
    what = {"passed": "passed now", "stopped": f"stopped again: {reason}", "error": reason}
    head = f"{again.n}  {again.revision}  {again.function}: {what[again.outcome]}"
    _write(head, again.frames)


def _write(head: str, frames: tuple[str, ...]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in (head, *(f"    {one}" for one in frames))))
