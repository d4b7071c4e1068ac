"""Figures read the same in the host's pictures and in the browser's, to the letter."""

import json
from pathlib import Path

import msgspec
import pytest

from aegis.adapters.graph.figures import compact, explained, latency, told
from aegis.core.wire import Breaker, Figure

# The tests of the TypeScript read the same file.
CASES = json.loads((Path(__file__).parents[2] / "labextension/test/figures.json").read_text())


@pytest.mark.parametrize(("count", "text"), CASES["compact"])
def test_counts_are_short(count, text):
    assert compact(count) == text


@pytest.mark.parametrize(("ms", "text"), CASES["latency"])
def test_times_are_for_people(ms, text):
    assert latency(ms) == text


@pytest.mark.parametrize(("figure", "kind", "text"), CASES["told"])
def test_a_figure_is_a_few_characters(figure, kind, text):
    assert told(msgspec.convert(figure, Figure), kind) == text


def test_a_breaker_says_since_when_it_is_open_and_when_its_partner_is_asked_again():
    breaker = Breaker(since="2026-01-01T14:05:10.123Z", until="2026-01-01T14:05:40.123Z")
    figure = Figure(calls=3, state="open", breaker=breaker)
    said = "breaker open, since 14:05:10Z, asks again at 14:05:40Z"
    assert explained(figure) == f"3 so far; {said}"
    probed = msgspec.structs.replace(breaker, until=None)
    figure = Figure(calls=3, state="half-open", breaker=probed)
    assert explained(figure) == "3 so far; breaker half-open, since 14:05:10Z"


@pytest.mark.parametrize(("figure", "text"), CASES["explained"])
def test_a_figure_is_explained_in_words(figure, text):
    assert explained(msgspec.convert(figure, Figure)) == text
