"""The wire: the TypeScript of the views says what the Python of the host says."""

import runpy
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from aegis.core import wire

LAB = Path(__file__).parents[2] / "labextension"


def test_the_typescript_of_the_wire_is_fresh():
    generated = runpy.run_path(str(LAB / "protocol.py"))["text"]()
    assert (LAB / "src" / "protocol.ts").read_text() == generated, "run `make protocol`"


@pytest.mark.parametrize("verb", get_args(wire.Verb), ids=lambda verb: verb.__name__)
def test_a_verb_says_which_right_it_takes_and_what_it_answers(verb):
    assert verb.right in get_args(wire.Right)
    assert issubclass(verb.answer, msgspec.Struct)
