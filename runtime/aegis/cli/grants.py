"""`aegis access`, `grant`, `revoke`: what components may reach of each other and of the host."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from aegis.cli.terminal import add_host, ask, verb
from aegis.core.grant import AccessStatus

if TYPE_CHECKING:
    from argparse import _SubParsersAction

WHAT = "orders.Order, orders.Order:read, orders:order.*; of the host itself: host.clock"


class _Access(msgspec.Struct):
    items: list[AccessStatus]


def add_grants(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the words about grants."""
    add_host(verb(words, "access", _access, "list what components may reach of each other"))
    for word, text in (
        ("grant", "let a component reach what others export"),
        ("revoke", "let a component reach something no more; its next call fails"),
    ):
        made = verb(words, word, _change, text)
        made.set_defaults(word=word)
        made.add_argument("name", help="the component")
        made.add_argument("what", nargs="+", help=WHAT)
        add_host(made)


def _access(options: Namespace) -> None:
    found = msgspec.json.decode(ask(options, "GET", "/aegis/api/access"), type=_Access)
    for one in found.items:
        _show(one)


def _change(options: Namespace) -> None:
    path = f"/aegis/api/components/{quote(options.name, safe='')}/grants"
    answer = ask(options, "POST", path, msgspec.json.encode({options.word: options.what}))
    _show(msgspec.json.decode(answer, type=AccessStatus))


def _show(one: AccessStatus) -> None:
    sys.stdout.write(
        f"{one.component}: exports {_said(one.exports)}; asks for {_said(one.asked)}; "
        f"granted {_said(one.granted)}\n"
    )


def _said(names: tuple[str, ...] | None) -> str:
    return "everything" if names is None else ", ".join(names) or "nothing"
