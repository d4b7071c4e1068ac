"""The picture of what led to what: each line a box below its cause, safe, bounded."""

import re
import xml.etree.ElementTree as ET

from aegis.adapters.graph.tree import MOST, render
from aegis.core.why import Line, Why

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert(1)</script>;#&\"'\x00 \U0001f600"
TIME = "2026-11-26T22:00:00.000Z"


def event(depth, name, **more):
    return Line(depth=depth, kind="event", name=name, time=TIME, id=f"{name}-{depth}", **more)


def drawn(*lines, **more):
    return ET.fromstring(render(Why(asked="x", lines=lines, **more)))


def boxes(root):
    return [e for e in root.iter(f"{SVG}g") if (e.get("class") or "").startswith("fact")]


def middle(box):
    rect = box.find(f"{SVG}rect")
    return float(rect.get("y"))


def test_what_was_led_to_stands_below_its_cause():
    root = drawn(
        event(0, "order.created", by="http"),
        event(1, "order.paid", by="orders.Order.pay"),
        event(2, "order.packed"),
        event(1, "order.updated"),
    )
    created, paid, packed, updated = boxes(root)
    assert middle(created) < middle(paid) < middle(packed)
    assert middle(paid) == middle(updated)
    assert len([e for e in root.iter(f"{SVG}path") if e.get("class") == "line"]) == 3
    assert root.get("aria-label") == "4 events from order.created"
    assert "by http" in "".join(created.itertext())


def test_what_failed_is_marked():
    root = drawn(
        event(0, "a.made"),
        Line(depth=1, kind="step", name="a.A.go", time=TIME, state="failed", error="no line"),
    )
    good, bad = boxes(root)
    assert "failed" not in good.get("class")
    assert "failed" in bad.get("class").split()
    assert "no line" in bad.find(f"{SVG}title").text


def test_names_cannot_break_out_of_it():
    text = render(Why(asked=NASTY, lines=(event(0, NASTY, about=NASTY, changed={NASTY: NASTY}),)))
    ET.fromstring(text)
    assert "<script" not in text


def test_a_large_tree_is_cut_and_says_so():
    lines = [event(0, "a.made"), *(event(1, "b.made") for _ in range(MOST + 5))]
    root = drawn(*lines, left_out=2, cut="it is gone")
    assert len(boxes(root)) == MOST
    assert "it is gone; and 8 more" in "".join(root.itertext())


def test_a_long_chain_and_no_line_at_all_are_drawn():
    assert len(boxes(drawn(*(event(depth, "a.made") for depth in range(MOST))))) == MOST
    assert "Nothing is known" in "".join(drawn().itertext())


def test_its_colours_are_those_of_the_page():
    text = render(Why(asked="x", lines=(event(0, "a.made"),)))
    colours = re.findall(r"(?:fill|stroke):(#[0-9a-f]+)", text)
    assert colours == []
