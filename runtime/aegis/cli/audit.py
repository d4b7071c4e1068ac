"""`aegis audit`: who changed what runs on a host."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from aegis.cli.terminal import add_host, ask, verb
from aegis.core.audit import Action, Audit

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SHOWN = 100


class _Page(msgspec.Struct, frozen=True):
    items: tuple[Audit, ...]


def add_audit(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the word `audit`."""
    text = "list who deployed, rolled back, pinned or granted what, and what was refused"
    made = verb(words, "audit", _audit, text)
    add_host(made)  # of a directory it is read there: no host needs to run
    add = made.add_argument
    add("--limit", type=int, default=SHOWN, help="how many entries (default: %(default)s)")
    add("--after", type=int, metavar="N", help="those behind this number (default: the last ones)")
    add("--action", choices=[*Action], metavar="ACTION", help=", ".join(Action))
    add("--json", action="store_true", help="a line of JSON for each entry")


def _audit(options: Namespace) -> None:
    for one in _told(options) if options.to else _kept(options):
        line = msgspec.json.encode(one).decode() if options.json else one.line()
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _told(options: Namespace) -> Sequence[Audit]:
    """What a running host says."""
    asked = {
        name: value
        for name in ("limit", "after", "action")
        if (value := getattr(options, name)) is not None
    }
    answer = ask(options, "GET", f"/aegis/api/audit?{urlencode(asked)}")
    return msgspec.json.decode(answer, type=_Page).items


def _kept(options: Namespace) -> Sequence[Audit]:
    """What a data directory says, whoever owns it."""
    from aegis.adapters.storage.snapshot import audits
    from aegis.core.errors import NotFoundError

    if options.data is None:
        raise NotFoundError("which host?", hint="say --data DIR or --to URL")
    action = None if options.action is None else Action(options.action)
    return audits(options.data, options.after, options.limit, action)
