"""The command `aegis`: what an operator does with the data of a host."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from aegis.core.errors import AegisError, ClosedError, NotFoundError
from aegis.core.moving import Progress, written

TIMEOUT = 60.0  # seconds for the answer to a batch


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `aegis`. Exit codes: 0 it is done, 2 it is not, 130 interrupted."""
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("aegis: %(message)s"))
    logging.getLogger("aegis").addHandler(handler)
    try:
        options.run(options)
    except AegisError as error:
        _say(str(error))
        sys.exit(2)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aegis", description="Look after an Aegis host.")
    words = parser.add_subparsers(metavar="data", required=True)
    data = words.add_parser("data", help="move the data of a host", description="Move data.")
    verbs = data.add_subparsers(metavar="VERB", required=True)

    def verb(
        name: str, run: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        made.set_defaults(run=run)
        made.add_argument("--quiet", action="store_true", help="draw no progress bar")
        return made

    text = "write records to a new file, a line of JSON each; a host may run meanwhile"
    add = verb("export", _export, text).add_argument
    add("data", type=Path, help="the data directory")
    add("file", type=Path, help="the .ndjson file, or - ; private fields are in it")
    add(
        "--model", action="append", default=[], metavar="COMPONENT.MODEL", dest="models",
        help="only this one; may be said again",
    )  # fmt: skip

    text = "take the records of an export into a running host; no flow is set off"
    add = verb("import", _import, text).add_argument
    add("file", type=Path, help="the .ndjson file")
    add("--data", type=Path, metavar="DIR", help="the host that owns this directory, or:")
    add("--to", metavar="URL", help="the address of the host")
    add("--token", help="what the host wants to see (default: AEGIS_TOKEN)")
    add(
        "--on-conflict", choices=("fail", "skip", "replace"), default="fail",
        help="what becomes of a record that is there with other data (default: %(default)s)",
    )  # fmt: skip
    add("--after", type=int, default=0, metavar="LINE", help="go on behind this line")
    add("--other-schema", action="store_true", help="records need only fit the model")
    add("--edited", action="store_true", help="counts and checksum of the file may be wrong")

    text = "copy a data directory to a new one, checked; a host may run meanwhile"
    add = verb("backup", _backup, text).add_argument
    add("data", type=Path, help="the data directory")
    add("target", type=Path, help="the new directory; keys beside the data go with it")

    text = "make a data directory of a backup"
    add = verb("restore", _restore, text).add_argument
    add("source", type=Path, help="the backup")
    add("data", type=Path, help="the new data directory")
    return parser


def _export(options: argparse.Namespace) -> None:
    from aegis.adapters.storage.snapshot import export, header_of, records_of, snapshot

    with _bar("export", "records", quiet=options.quiet) as told:
        if str(options.file) != "-":
            header = export(options.data, options.file, options.models, told)
        else:
            with snapshot(options.data) as db:
                header = header_of(db, options.models)
                sys.stdout.buffer.writelines(written(header, records_of(db, header), told))
                sys.stdout.flush()
    _say(f"{header.total:,} records as of event {header.seq:,} are in {options.file}")


def _import(options: argparse.Namespace) -> None:
    """Send batch by batch: a second run does no harm, since what is there already is known."""
    from aegis.engine.intake import Imported, batches, check

    url = f"{options.to or _address(options.data)}/aegis/api/import"
    token = options.token or os.environ.get("AEGIS_TOKEN")
    header = check(options.file, edited=options.edited)
    done = Imported(line=options.after)
    with _bar("import", "records", quiet=options.quiet) as told:
        told(0, header.total)
        for batch in batches(options.file, options.after):
            body = {
                "header": header,
                "records": [(line.n, line.record) for line in batch],
                "on_conflict": options.on_conflict,
                "other_schema": options.other_schema,
            }
            try:
                done += msgspec.json.decode(
                    _post(url, token, msgspec.json.encode(body)), type=Imported
                )
            except AegisError as error:
                if done.line > 1:
                    _say(f"stored up to line {done.line}: --after {done.line} goes on there")
                raise error from None
            told(batch[-1].n - 1, header.total)
    _say(
        f"{done.created:,} created, {done.replaced:,} replaced, {done.skipped:,} skipped, "
        f"{done.known:,} known already"
    )


def _address(data: Path | None) -> str:
    """Where the host answers that owns a data directory. Raises AegisError."""
    from aegis.adapters.storage.lock import owner

    if data is None or not data.is_dir():
        missing = "which host?" if data is None else f"there is no directory {data}"
        raise NotFoundError(missing, hint="say --data DIR or --to URL")
    owned = owner(data)
    if owned is None or not owned.fields["address"]:
        raise ClosedError(
            f"no host serves {data}: records go in through the checks of their model",
            hint="start it with aegis-serve, then import",
        )
    return str(owned.fields["address"])


def _post(url: str, token: str | None, body: bytes) -> bytes:
    """What a host answers. Raises AegisError with what it says, or when it says nothing."""
    from tornado.httpclient import HTTPClient, HTTPRequest

    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    client = HTTPClient()
    try:
        answer = client.fetch(
            HTTPRequest(url, "POST", headers, body, request_timeout=TIMEOUT), raise_error=False
        )
    except (OSError, ValueError) as error:
        raise ClosedError(f"{url} does not answer: {error}") from None
    finally:
        client.close()
    if answer.code == 200:
        return answer.body
    if answer.code == 599:
        raise ClosedError(f"{url} does not answer: {answer.error}")
    try:
        problem = msgspec.json.decode(answer.body, type=dict[str, Any])
        detail, hint = str(problem["detail"]), problem.get("hint")
        if problem.get("pointer"):
            detail = f"{detail}, at {problem['pointer']}"
    except (msgspec.DecodeError, KeyError):
        detail, hint = f"{url} answers {answer.code}", None
    raise AegisError(detail, hint=hint)


def _backup(options: argparse.Namespace) -> None:
    from aegis.adapters.storage.backup import back_up

    with _bar("backup", "B", quiet=options.quiet) as told:
        manifest = back_up(options.data, options.target, told)
    keys = [name for name in manifest.files if name.endswith(".key")]
    _say(
        f"{manifest.total:,} bytes as of event {manifest.seq:,} are in {options.target}"
        + (f", with {', '.join(keys)}: keep it as safe as the data" if keys else "")
    )


def _restore(options: argparse.Namespace) -> None:
    from aegis.adapters.storage.backup import restore

    with _bar("restore", "B", quiet=options.quiet) as told:
        manifest = restore(options.source, options.data, told)
    _say(f"{options.data} holds what was there at event {manifest.seq:,} ({manifest.made})")


@contextmanager
def _bar(what: str, unit: str, *, quiet: bool) -> Generator[Progress]:
    """A progress bar on a terminal, None elsewhere; what it is told with how far it is."""
    from tqdm import tqdm

    scaled = unit == "B"
    # `disable=None` leaves it out where standard error is no terminal.
    with tqdm(
        desc=what, unit=unit if scaled else f" {unit}", unit_scale=scaled,
        disable=True if quiet else None,
    ) as bar:  # fmt: skip

        def told(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        yield told


def _say(text: str) -> None:
    """To standard error; standard output belongs to data."""
    sys.stderr.write(f"aegis: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
