"""`aegis data`: move the data of a host."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from aegis.cli.terminal import add_host, bar, host_of, post, say, token_of, verb
from aegis.core.errors import AegisError
from aegis.core.moving import written

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_data(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the word `data` with its verbs."""
    data = words.add_parser("data", help="move the data of a host", description="Move data.")
    verbs = data.add_subparsers(metavar="VERB", required=True)

    text = "write records to a new file, a line of JSON each; a host may run meanwhile"
    add = verb(verbs, "export", _export, text).add_argument
    add("data", type=Path, help="the data directory")
    add("file", type=Path, help="the .ndjson file, or - ; private fields are in it")
    add(
        "--model", action="append", default=[], metavar="COMPONENT.MODEL", dest="models",
        help="only this one; may be said again",
    )  # fmt: skip

    text = "take the records of an export into a running host; no flow is set off"
    made = verb(verbs, "import", _import, text)
    add_host(made)
    add = made.add_argument
    add("file", type=Path, help="the .ndjson file")
    add(
        "--on-conflict", choices=("fail", "skip", "replace"), default="fail",
        help="what becomes of a record that is there with other data (default: %(default)s)",
    )  # fmt: skip
    add("--after", type=int, default=0, metavar="LINE", help="go on behind this line")
    add("--other-schema", action="store_true", help="records need only fit the model")
    add("--edited", action="store_true", help="counts and checksum of the file may be wrong")

    text = "copy a data directory to a new one, checked; a host may run meanwhile"
    add = verb(verbs, "backup", _backup, text).add_argument
    add("data", type=Path, help="the data directory")
    add("target", type=Path, help="the new directory; keys beside the data go with it")

    text = "make a data directory of a backup"
    add = verb(verbs, "restore", _restore, text).add_argument
    add("source", type=Path, help="the backup")
    add("data", type=Path, help="the new data directory")


def _export(options: Namespace) -> None:
    from aegis.adapters.storage.snapshot import export, header_of, records_of, snapshot

    with bar("export", "records", quiet=options.quiet) as told:
        if str(options.file) != "-":
            header = export(options.data, options.file, options.models, told)
        else:
            with snapshot(options.data) as db:
                header = header_of(db, options.models)
                sys.stdout.buffer.writelines(written(header, records_of(db, header), told))
                sys.stdout.flush()
    say(f"{header.total:,} records as of event {header.seq:,} are in {options.file}")


def _import(options: Namespace) -> None:
    """Send batch by batch: a second run does no harm, since what is there already is known."""
    from aegis.engine.intake import Imported, batches, check

    url, token = f"{host_of(options)}/aegis/api/import", token_of(options)
    header = check(options.file, edited=options.edited)
    done = Imported(line=options.after)
    with bar("import", "records", quiet=options.quiet) as told:
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
                    post(url, token, msgspec.json.encode(body)), type=Imported
                )
            except AegisError as error:
                if done.line > 1:
                    say(f"stored up to line {done.line}: --after {done.line} goes on there")
                raise error from None
            told(batch[-1].n - 1, header.total)
    say(
        f"{done.created:,} created, {done.replaced:,} replaced, {done.skipped:,} skipped, "
        f"{done.known:,} known already"
    )


def _backup(options: Namespace) -> None:
    from aegis.adapters.storage.backup import back_up

    with bar("backup", "B", quiet=options.quiet) as told:
        manifest = back_up(options.data, options.target, told)
    keys = [name for name in manifest.files if name.endswith(".key")]
    say(
        f"{manifest.total:,} bytes as of event {manifest.seq:,} are in {options.target}"
        + (f", with {', '.join(keys)}: keep it as safe as the data" if keys else "")
    )


def _restore(options: Namespace) -> None:
    from aegis.adapters.storage.backup import restore

    with bar("restore", "B", quiet=options.quiet) as told:
        manifest = restore(options.source, options.data, told)
    say(f"{options.data} holds what was there at event {manifest.seq:,} ({manifest.made})")
