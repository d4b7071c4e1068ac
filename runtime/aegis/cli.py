"""The command `aegis`: what an operator does with the data of a host."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aegis.core.errors import AegisError
from aegis.core.moving import Progress


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
    add("file", type=Path, help="the .ndjson file; private fields are in it")
    add(
        "--model", action="append", default=[], metavar="COMPONENT.MODEL", dest="models",
        help="only this one; may be said again",
    )  # fmt: skip

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
    from aegis.adapters.storage.snapshot import export

    with _bar("export", "records", quiet=options.quiet) as told:
        header = export(options.data, options.file, options.models, told)
    _say(f"{header.total:,} records as of event {header.seq:,} are in {options.file}")


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
