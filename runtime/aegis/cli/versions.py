"""`aegis versions`, `follow`, `unfollow` and `lock`: which versions a host has, and will have."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from aegis.cli.terminal import add_host, ask, say, verb
from aegis.core.versions import Followed, Versions

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from aegis.core.lock import Lock


def add_versions(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the words about versions."""
    made = verb(
        words, "versions", _versions, "list the versions of a component, here and elsewhere"
    )
    made.add_argument("name", help="the component")
    add_host(made)

    text = "let newer versions of a component deploy by themselves"
    made = verb(words, "follow", _follow, text)
    add = made.add_argument
    add("name", help="the component")
    add(
        "address",
        nargs="?",
        help="with a range: github:acme/orders@^1.2 (default: where it is from)",
    )
    add("--every", type=float, metavar="SECONDS", help="how often its source is asked")
    add_host(made)

    text = "let no version of a component come by itself any more"
    made = verb(words, "unfollow", _unfollow, text)
    made.add_argument("name", help="the component")
    add_host(made)

    text = "write what [components] of aegis.toml comes to into aegis.lock; no host is needed"
    made = verb(words, "lock", _lock, text)
    add = made.add_argument
    add("--folder", type=Path, default=Path(), metavar="DIR", help="where aegis.toml is")
    add(
        "--upgrade", nargs="?", const="", metavar="NAME",
        help="look for the newest of this component, or of all, whatever is locked",
    )  # fmt: skip


def _asked(options: Namespace, method: str, what: str, body: Any = None) -> bytes:
    path = f"/aegis/api/components/{quote(options.name, safe='')}/{what}"
    return ask(options, method, path, None if body is None else msgspec.json.encode(body))


def _versions(options: Namespace) -> None:
    found = msgspec.json.decode(_asked(options, "GET", "versions"), type=Versions)
    sys.stdout.write(f"{found}\n")


def _follow(options: Namespace) -> None:
    body = {"address": options.address, "every": options.every}
    say(str(msgspec.json.decode(_asked(options, "PUT", "follow", body), type=Followed)))


def _unfollow(options: Namespace) -> None:
    _asked(options, "DELETE", "follow")
    say(f"{options.name} is followed no more; what serves goes on")


def _lock(options: Namespace) -> None:
    from aegis.bootstrap import lock
    from aegis.configuration import environment, read

    config = read(options.folder, **environment())
    said = options.upgrade
    upgrade = () if said is None else (said,) if said else None
    before, after = asyncio.run(lock(config, upgrade))
    for line in changes(before, after):
        say(line)


def changes(before: Lock, after: Lock) -> list[str]:
    """What a lock says otherwise than before, a line for each component."""
    lines = [f"{name} is locked no more" for name in sorted(before.keys() - after.keys())]
    for name in sorted(after):
        old, new = before.get(name), after[name]
        at = f" at {new.resolved[:12]}" if new.resolved else ""
        if old is None:
            lines.append(f"{name} {new.version}{at}")
        elif old.code != new.code:
            lines.append(f"{name} {old.version} -> {new.version}{at}")
    return lines or ["the lock is as it was"]
