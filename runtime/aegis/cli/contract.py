"""`aegis wit`: the contract that a component in another language is built against."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from importlib.resources import files
from typing import TYPE_CHECKING

from aegis.cli.terminal import verb

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_contract(words: _SubParsersAction[ArgumentParser]) -> None:
    """Add the word `wit`."""
    text = "print the contract of components in WebAssembly, as WIT: aegis wit > component.wit"
    verb(words, "wit", _wit, text)


def _wit(_: Namespace) -> None:
    sys.stdout.write((files("aegis") / "wit" / "component.wit").read_text(encoding="utf-8"))
    sys.stdout.flush()
