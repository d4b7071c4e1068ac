"""`aegis keys` and `aegis sign`: who signs components, and whom a host trusts."""

from __future__ import annotations

import getpass
import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from aegis.cli.terminal import say, verb
from aegis.core.errors import InvalidError, NotFoundError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from aegis.adapters.trust.keys import KeyFiles
    from aegis.adapters.trust.pins import PinFile
    from aegis.core.trust import Allowed

PASSPHRASE = "AEGIS_KEY_PASSPHRASE"  # noqa: S105 -- the name of a variable, no secret
_SPAN = re.compile(r"^([1-9]\d{0,4})([dhw])$")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def add_keys(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the words `keys`, with its verbs, and `sign`."""
    text = "sign a component: digests of its files into aegis.toml, aegis.sig beside it"
    made = verb(words, "sign", _sign, text)
    made.add_argument("folder", type=Path, help="the folder with the aegis.toml")
    made.add_argument("--key", metavar="NAME", help="the key (default: the only one there is)")
    made.add_argument(
        "--expires", type=_span, metavar="SPAN", help="how long it is good: 90d, 12w, 36h"
    )
    _own(made)

    keys = words.add_parser(
        "keys", help="keys that sign, and keys that a host trusts", description="Look after keys."
    )
    verbs = keys.add_subparsers(metavar="VERB", required=True)

    made = verb(verbs, "new", _new, "make a key to sign with; its public half is for all to know")
    made.add_argument("name")
    made.add_argument(
        "--passphrase", action="store_true", help=f"hide it behind one ({PASSPHRASE}, or asked for)"
    )
    _own(made)

    made = verb(verbs, "list", _list, "list your keys, or whom a host trusts")
    made.add_argument("--data", type=Path, metavar="DIR", help="the pins of this data directory")
    _own(made)

    made = verb(verbs, "show", _show, "write the public half of a key, as others pin it")
    made.add_argument("name", nargs="?", help="(default: the only one there is)")
    _own(made)

    text = "let a key sign what a host takes from an address and all below it"
    _of_host(verb(verbs, "pin", _pin, text), "key")
    _of_host(verb(verbs, "unpin", _unpin, "let it do so no more"), "key")
    text = "let a host take one version although a newer one was deployed"
    _of_host(verb(verbs, "allow-older", _allow, text), "version")
    _of_host(verb(verbs, "disallow-older", _disallow, "let it do so no more"), "version")


def _own(made: ArgumentParser) -> None:
    made.add_argument(
        "--dir", type=Path, help="where your keys are (default: aegis/keys in the config folder)"
    )


def _of_host(made: ArgumentParser, what: str) -> None:
    made.add_argument("source", help="github:acme/orders, github:acme/*, https://example.com/c/")
    if what == "key":
        made.add_argument("key", help="ed25519:..., as `aegis keys show` writes it")
    else:
        made.add_argument("component", help="as orders@1.2.0")
    made.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="the host's data directory"
    )


def _sign(options: Namespace) -> None:
    from aegis.adapters.trust.signing import sign

    files = _files(options)
    name = options.key or files.only()
    key = files.open(name, _passphrase(files, name))
    signed = datetime.now(UTC)
    expires = None if options.expires is None else signed + options.expires
    done = sign(options.folder, key, signed=signed, expires=expires)
    until = f" until {done.signature.expires}" if expires else ""
    say(
        f"{done.name} {done.version} is signed with {name} ({done.signature.key}){until}: "
        f"{', '.join(done.files)}"
    )


def _new(options: Namespace) -> None:
    files = _files(options)
    passphrase = None
    if options.passphrase or os.environ.get(PASSPHRASE):
        passphrase = os.environ.get(PASSPHRASE) or _asked(twice=True)
    public = files.new(options.name, passphrase)
    _write(public)
    say(f"{files.directory / options.name}.pem is its private half: keep it to yourself")


def _list(options: Namespace) -> None:
    if options.data is None:
        for one in _files(options).listed():
            _write(f"{one.name} {one.public or '(behind its passphrase)'}")
        return
    trusted = _pins(options).read()
    for source, keys in sorted(trusted.pins.items()):
        for key in keys:
            _write(f"{source} {key}")
    for older in trusted.older:
        _write(f"{older.source} {older.component}@{older.version} although it is older")


def _show(options: Namespace) -> None:
    files = _files(options)
    name = options.name or files.only()
    _write(files.public(name, _passphrase(files, name)))


def _pin(options: Namespace) -> None:
    _pins(options).pin(options.source, options.key, getpass.getuser())
    say(f"what comes from {options.source} may be signed by {options.key}")


def _unpin(options: Namespace) -> None:
    _pins(options).unpin(options.source, options.key, getpass.getuser())
    say(f"{options.key} signs nothing from {options.source} any more; what serves goes on")


def _allow(options: Namespace) -> None:
    one = _older(options)
    _pins(options).allow(one, getpass.getuser())
    say(f"{one.component} {one.version} may come from {one.source} although it is older")


def _disallow(options: Namespace) -> None:
    one = _older(options)
    _pins(options).disallow(one, getpass.getuser())
    say(f"{one.component} {one.version} may not come from {one.source} when it is older")


def _older(options: Namespace) -> Allowed:
    from aegis.core.trust import Allowed

    component, _, version = options.component.partition("@")
    return Allowed(options.source, component, version)


def _files(options: Namespace) -> KeyFiles:
    from aegis.adapters.trust.keys import KeyFiles, directory_of

    return KeyFiles(options.dir or directory_of())


def _pins(options: Namespace) -> PinFile:
    from aegis.adapters.trust.pins import PinFile

    if not options.data.is_dir():
        raise NotFoundError(
            f"there is no directory {options.data}", hint="name the data directory of a host"
        )
    return PinFile(options.data)


def _passphrase(files: KeyFiles, name: str) -> str | None:
    """What opens a key: asked for where it needs one, nobody said it, and somebody is there."""
    from aegis.adapters.trust.keys import LockedError

    said = os.environ.get(PASSPHRASE)
    if said:
        return said
    try:
        files.open(name)
    except LockedError:
        if not sys.stdin.isatty():
            raise
        return _asked()
    return None


def _asked(*, twice: bool = False) -> str:
    if not sys.stdin.isatty():
        raise InvalidError(
            "nobody can be asked for a passphrase here", hint=f"say it in {PASSPHRASE}"
        )
    said = getpass.getpass("Passphrase: ")
    if twice and getpass.getpass("Again: ") != said:
        raise InvalidError("these were two passphrases", hint="nothing was made; try again")
    return said


def _span(text: str) -> timedelta:
    found = _SPAN.match(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no span: write it as 90d, 12w or 36h")
    return int(found[1]) * _UNITS[found[2]]


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
