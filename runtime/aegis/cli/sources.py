"""`aegis new`, `check` and `fetch`: begin a component, look what is wrong with it, get one."""

from __future__ import annotations

import ast
import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aegis.cli.scaffold import write
from aegis.cli.terminal import bar, say, verb
from aegis.core.bundle import Bundle
from aegis.core.errors import AegisError, ComponentError, ConflictError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from aegis.engine.host import HostStatus


class UnsoundError(AegisError):
    """A component has problems; the message lists all of them."""

    status = 422
    title = "Unsound component"


def add_sources(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the words `new`, `check` and `fetch`."""
    text = "write the files of a new component: a model with a port, an adapter, a test"
    add = verb(words, "new", _new, text).add_argument
    add("name", help="as orders: lower case letters, digits, - and _")
    add("--dir", type=Path, metavar="DIR", help="where to (default: a folder of that name)")
    add("--wat", action="store_true", help="in WebAssembly, as text")

    text = "tell all that is wrong with a component; several are loaded together"
    add = verb(words, "check", _check, text).add_argument
    add("addresses", nargs="+", metavar="PATH", help="a folder, a file, or another address")

    text = "get a component from where it is, and show what it is; nothing of it runs"
    add = verb(words, "fetch", _fetch, text).add_argument
    add("address", help="as github:OWNER/REPO@^1.2, https://HOST/orders.whl, or a path")
    add("--to", type=Path, metavar="DIR", help="write its files into this new folder")


def _new(options: Namespace) -> None:
    folder = options.dir or Path(options.name)
    try:
        write(options.name, folder, is_wat=options.wat)
    except OSError as error:
        raise ConflictError(f"{folder} cannot be written: {error.strerror}") from None
    say(f"{options.name} is in {folder}: `aegis check {folder}` looks at it")


# --- check ----------------------------------------------------------------------------------------


def _check(options: Namespace) -> None:
    problems: list[str] = []
    bundles: list[Bundle] = []
    for address in options.addresses:
        try:
            found = asyncio.run(_fetched(address, quiet=options.quiet))
        except AegisError as error:
            problems += _told(address, error)
        else:
            bundles += found
            problems += [one for bundle in found for one in _unparsed(bundle)]
    if not problems:
        try:
            status = asyncio.run(_loaded(options.addresses))
        except AegisError as error:
            problems += _told(" ".join(options.addresses), error)
        else:
            digests = {bundle.manifest.name: bundle.digest for bundle in bundles}
            for one in status.components:
                say(
                    f"{one.name} {one.version} ({digests[one.name][:8]}) is sound: "
                    f"{', '.join(one.models) or 'no model'}"
                )
    for problem in problems:
        say(problem)
    if problems:
        raise UnsoundError(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}")


def _told(where: str, error: AegisError) -> Iterator[str]:
    """Each problem of an error, with the file and the line where they are known."""
    if not isinstance(error, ComponentError):
        yield str(error)
        return
    hint = f" ({error.hint})" if error.hint else ""
    # What has not said its name yet is called by its file.
    place = where if error.component == where else f"{where}: {error.component}"
    for problem in error.problems:
        yield f"{place}: {problem}{hint}"


def _unparsed(bundle: Bundle) -> Iterator[str]:
    """What of its code is no Python, by file and line."""
    for path in bundle.paths:
        if not path.endswith(".py"):
            continue
        try:
            ast.parse(bundle.files[path], path)
        except SyntaxError as error:
            yield f"{bundle.address}: {path}:{error.lineno}: {error.msg}"
        except (ValueError, RecursionError, MemoryError) as error:
            yield f"{bundle.address}: {path}: {error}"


async def _loaded(addresses: Sequence[str]) -> HostStatus:
    """What a host in memory says that serves what is there, all of it. Raises AegisError."""
    from aegis.bootstrap import build_host
    from aegis.configuration import read
    from aegis.engine.plan import Change

    # What [components] wants is none of what is looked at.
    async with build_host(read(data=None, components={}, lock=None)) as host:
        found = [one for address in addresses for one in await host.fetch(address)]
        await host.change(Change(sources=tuple(one.source for one in found)), who="check")
        return host.status()


# --- fetch ----------------------------------------------------------------------------------------


def _fetch(options: Namespace) -> None:
    if options.to is not None and options.to.exists():
        raise ConflictError(f"{options.to} is there already", hint="--to says a new folder")
    found = asyncio.run(_fetched(options.address, quiet=options.quiet))
    for bundle in found:
        manifest = bundle.manifest
        lines = [f"{manifest.name} {manifest.version}", f"  digest    {bundle.digest}"]
        lines += [f"  resolved  {bundle.resolved}"] if bundle.resolved else []
        lines += [f"  {len(bundle.files[path]):>8,}  {path}" for path in sorted(bundle.files)]
        sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    if options.to is None:
        return
    try:
        for bundle in found:
            _write(bundle, options.to if len(found) == 1 else options.to / bundle.manifest.name)
    except OSError as error:
        raise ConflictError(f"{options.to} cannot be written: {error.strerror}") from None
    say(f"its files are in {options.to}")


def _write(bundle: Bundle, folder: Path) -> None:
    """Write the files of a bundle; their paths are inside it, or it would be none."""
    for path, content in bundle.files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


async def _fetched(address: str, *, quiet: bool) -> Sequence[Bundle]:
    """The components at an address, by the settings of the working directory."""
    from aegis.bootstrap import build_sources
    from aegis.configuration import read

    sources = build_sources(read(data=None))
    with bar("fetch", "B", quiet=quiet) as told:
        return await sources.fetch(address, told=told)
