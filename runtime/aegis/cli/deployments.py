"""`aegis plan`, `deploy`, `rollback` and `undeploy`: change what a running host serves."""

from __future__ import annotations

import asyncio
import io
import sys
import zipfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from aegis.cli.splits import shown
from aegis.cli.terminal import add_host, ask, bar, confirmed, lines, refusal, say, verb
from aegis.core.errors import ConflictError, InvalidError
from aegis.core.outcome import Asked, Line, Problem, Told
from aegis.core.rehearsal import Gate, Rehearsal

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from aegis.core.bundle import Bundle
    from aegis.core.difference import Difference

PLACE = "/aegis/api/deployments"
REFUSED = 3  # what the command ends with when a gate refuses
COLORS = {"+": 32, "-": 31, "~": 33, "!": 31, "x": 31, "=": 2}
EPOCH = (1980, 1, 1, 0, 0, 0)  # of files in a zip, so that the same files are the same bytes


def add_deployments(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the words that change what a host serves."""
    text = "tell what deploying a component would make different; nothing changes"
    _add_source(verb(words, "plan", _plan, text))

    text = "deploy a component to a running host; a folder or file of this machine is sent"
    made = verb(words, "deploy", _deploy, text)
    _add_source(made)
    made.add_argument("--yes", action="store_true", help="do not ask, whatever it breaks")
    made.add_argument(
        "--split", type=float, metavar="PERCENT",
        help="try it on that share of the records, beside what is live",
    )  # fmt: skip

    text = "serve the revision of a component before this one again"
    made = verb(words, "rollback", _rollback, text)
    made.add_argument("name", help="the component")
    made.add_argument("--json", action="store_true", help="print the answer as JSON")
    add_host(made)

    text = "stop serving a component; its records stay"
    made = verb(words, "undeploy", _undeploy, text)
    made.add_argument("name", help="the component")
    add_host(made)


def _add_source(made: ArgumentParser) -> None:
    add = made.add_argument
    add("source", help="a folder, a file, book.ipynb#orders, or an address that the host fetches")
    add(
        "--gate", nargs="?", type=int, const=Gate().last, metavar="COUNT",
        help="try it on the last recorded flows and requests first (default: %(const)s of them)",
    )  # fmt: skip
    add("--differ", type=int, default=0, metavar="COUNT", help="how many may come out otherwise")
    add("--raises", type=int, default=0, metavar="COUNT", help="how many may end in an error")
    add("--seconds", type=float, default=Gate().seconds, help="how long that may take")
    add("--json", action="store_true", help="print the answer as JSON")
    add_host(made)


def _plan(options: Namespace) -> None:
    asked = _send(options, _packed(options), plan=True)
    _print(options, asked)
    if asked.rehearsal is not None and not asked.rehearsal.passes:
        sys.exit(REFUSED)


def _deploy(options: Namespace) -> None:
    """Deploy; where that breaks somebody, or a person sits there, it is planned and asked first."""
    body = _packed(options)
    if not options.yes:
        plan = _send(options, body, plan=True, gate=False).plan
        if plan is not None and not plan.is_nothing and not _agreed(plan):
            raise ConflictError("nothing was deployed")
    asked = _send(options, body, plan=False, split=options.split)
    _print(options, asked)


def _agreed(plan: Difference) -> bool:
    sys.stderr.write(f"{_drawn(plan, sys.stderr.isatty())}\n")
    if sys.stdin.isatty():
        return confirmed("Deploy that?")
    if plan.breaks:
        raise ConflictError("it breaks what others rely on", hint="--yes deploys it nevertheless")
    return True


def _rollback(options: Namespace) -> None:
    path = f"/aegis/api/components/{quote(options.name, safe='')}/rollback"
    _print(options, msgspec.json.decode(ask(options, "POST", path, b""), type=Asked))


def _undeploy(options: Namespace) -> None:
    ask(options, "DELETE", f"/aegis/api/components/{quote(options.name, safe='')}")
    say(f"{options.name} serves no more; its records are kept")


# --- what is sent ---------------------------------------------------------------------------------


def _packed(options: Namespace) -> dict[str, Any] | bytes:
    """The body: an address, a text with its imports, or the zip of a folder. Raises AegisError."""
    from aegis.core.address import parse

    source: str = options.source
    if not _is_here(source) and parse(source).kind not in {"file", "cell"}:
        return {"source": source}
    found = asyncio.run(_read(source))
    if len(found) != 1:
        names = ", ".join(bundle.manifest.name for bundle in found)
        raise InvalidError(
            f"{source} has {len(found)} components: {names or 'none'}",
            hint="name one, as in book.ipynb#orders",
        )
    (bundle,) = found
    if bundle.manifest.wasm and bundle.is_derived:
        bundle = told(bundle)
    if not bundle.is_derived:
        return zipped(bundle)
    text = bundle.source()
    return {
        "name": text.name,
        "version": text.version,
        "text": text.text,
        "imports": dict(text.imports),
    }


def told(bundle: Bundle) -> Bundle:
    """A bundle with an aegis.toml that says what it was found to be: no code runs to know it."""
    import tomlkit

    from aegis.core.manifest import FILE, TABLE

    said = bundle.manifest
    table = {"name": said.name, "version": said.version, "models": list(said.code)}
    content = tomlkit.dumps({TABLE: table}).encode()
    return replace(bundle, files={**bundle.files, FILE: content}, is_derived=False)


def _is_here(source: str) -> bool:
    from pathlib import Path

    return Path(source.partition("#")[0]).expanduser().exists()


async def _read(source: str) -> Sequence[Bundle]:
    from aegis.bootstrap import build_sources
    from aegis.configuration import read

    return await build_sources(read(data=None)).fetch(source)


def zipped(bundle: Bundle) -> bytes:
    """The files of a bundle as a zip; the same files give the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(bundle.files):
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, bundle.files[path], zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _send(
    options: Namespace,
    body: dict[str, Any] | bytes,
    *,
    plan: bool,
    gate: bool = True,
    split: float | None = None,
) -> Asked:
    """What the host makes of it; bars tell how far. Ends the command where the gate refuses."""
    terms = _terms(options) if gate else None
    path, kind = (f"{PLACE}/plan" if plan else PLACE), "application/json"
    if isinstance(body, bytes):
        kind = "application/zip"
        query = {**(terms or {}), **({} if split is None else {"split": split})}
        path += f"?{urlencode(query)}" if query else ""
        content = body
    else:
        content = msgspec.json.encode({**body, "gate": terms, "split": split})
    answer: Asked | None = None
    for text in _shown(options, lines(options, "POST", path, content, kind)):
        line = msgspec.json.decode(text, type=Line)
        if isinstance(line, Problem):
            _refused(options, line.problem)
        elif not isinstance(line, Told):
            answer = line.answer
    if answer is None:
        raise ConflictError("the host broke off", hint="`aegis versions` tells what serves")
    return answer


def _terms(options: Namespace) -> dict[str, float] | None:
    if options.gate is None:
        return None
    return {
        "last": options.gate,
        "differ": options.differ,
        "raises": options.raises,
        "seconds": options.seconds,
    }


def _shown(options: Namespace, told: Iterable[bytes]) -> Iterable[bytes]:
    """The lines as they come, with a bar for each thing that takes time."""
    current, drawn, show = "", None, None
    try:
        for text in told:
            line = msgspec.json.decode(text, type=Line)
            if isinstance(line, Told):
                if line.what != current or show is None:
                    if drawn is not None:
                        drawn.__exit__(None, None, None)
                    current = line.what
                    unit = "B" if current == "fetch" else "tried"
                    drawn = bar(current, unit, quiet=options.quiet)
                    show = drawn.__enter__()
                show(line.done, line.of)
            yield text
    finally:
        if drawn is not None:
            drawn.__exit__(None, None, None)


def _refused(options: Namespace, problem: dict[str, Any]) -> None:
    """End the command: a gate that refuses has figures, and a number of its own."""
    if "rehearsal" not in problem:
        raise refusal(problem)
    if options.json:
        sys.stdout.write(f"{msgspec.json.encode(problem).decode()}\n")
    else:
        rehearsal = msgspec.convert(problem["rehearsal"], Rehearsal, strict=False)
        sys.stdout.write(f"{rehearsal}\n")
    sys.stdout.flush()
    say(str(refusal(problem)))
    sys.exit(REFUSED)


# --- what is told ---------------------------------------------------------------------------------


def _print(options: Namespace, asked: Asked) -> None:
    if options.json:
        sys.stdout.write(f"{msgspec.json.encode(asked).decode()}\n")
        return
    said: list[str] = []
    if asked.plan is not None:
        said.append(_drawn(asked.plan, sys.stdout.isatty()))
    if asked.rehearsal is not None:
        said.append(f"gate: {asked.rehearsal}")
    made = asked.deployment
    if made is not None:
        what = f"{made.component} {made.version} ({made.digest[:8]})"
        said.append(f"{what} serves already" if asked.same else f"{what} serves")
    if asked.split is not None:
        said += shown(asked.split)
    sys.stdout.write("\n".join(said) + "\n")
    sys.stdout.flush()


def _drawn(plan: Difference, colored: bool) -> str:  # noqa: FBT001 -- of two looks
    rows = []
    for sign, text in plan.lines():
        row = f"{sign or ' '} {text}"
        color = COLORS.get(sign) if colored else None
        rows.append(row if color is None else f"\x1b[{color}m{row}\x1b[0m")
    return "\n".join(rows)
