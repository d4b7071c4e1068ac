"""The command `aegis`: what an operator and an author do from a shell."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from aegis.cli.audit import add_audit
from aegis.cli.contract import add_contract
from aegis.cli.data import add_data
from aegis.cli.deployments import add_deployments
from aegis.cli.grants import add_grants
from aegis.cli.keys import add_keys
from aegis.cli.sources import add_sources
from aegis.cli.splits import add_splits
from aegis.cli.terminal import say
from aegis.cli.traps import add_traps
from aegis.cli.versions import add_versions
from aegis.core.errors import AegisError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `aegis`. Exit codes: 0 it is done, 2 it is not, 3 a gate refused it, 130 interrupted."""
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("aegis: %(message)s"))
    log = logging.getLogger("aegis")
    log.addHandler(handler)
    try:
        options.run(options)
    except AegisError as error:
        say(str(error))
        sys.exit(2)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    finally:
        log.removeHandler(handler)  # whoever calls this may go on


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aegis", description="Look after an Aegis host.")
    words = parser.add_subparsers(metavar="WORD", required=True)
    add_sources(words)
    add_data(words)
    add_deployments(words)
    add_versions(words)
    add_splits(words)
    add_grants(words)
    add_traps(words)
    add_keys(words)
    add_audit(words)
    add_contract(words)
    return parser
