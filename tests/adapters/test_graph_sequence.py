"""The sequence diagram: who called whom, in order, safe whatever the names, bounded."""

import re
import xml.etree.ElementTree as ET

from aegis.adapters.graph.sequence import MOST, mermaid, render
from aegis.core.trace import Call, sequence

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert(1)</script>;#&\"'\x00 \U0001f600"


def call(source, target, label, began, ended, kind="call", **more):
    return Call(
        source=source, target=target, label=label, kind=kind, began=began, ended=ended, **more
    )


ORDER = [
    call("cell", "model:o.Order", "create", 10.0, 10.002, about="a1"),
    call("model:o.Order", "event:order.created", "order.created", 10.001, 10.001, "produces"),
    call("event:order.created", "port:o.Order.pay", "pay", 10.003, 10.020, "consumes"),
    call("port:o.Order.pay", "part:o.Cards", "charge", 10.004, 10.019),
    call("part:o.Cards", "part:o.Http", "ask", 10.005, 10.018, error="TimeoutError: late"),
]


def drawn(calls, left_out=0):
    return ET.fromstring(render(sequence(calls, left_out)))


def parts(root, name):
    return [e for e in root.iter() if (e.get("class") or "").split(" ")[0] == name]


def texts(root, name):
    return ["".join(e.itertext()) for e in parts(root, name)]


def test_who_takes_part_stands_from_left_to_right_and_all_events_share_a_line():
    root = drawn(ORDER)
    assert [e.get("data-id") for e in parts(root, "who")] == [
        "cell", "model:o.Order", "events", "port:o.Order.pay", "part:o.Cards", "part:o.Http",
    ]  # fmt: skip
    heads = [float(e.find(f"{SVG}rect").get("x")) for e in parts(root, "who")]
    assert heads == sorted(heads)
    assert root.get("aria-label") == "Sequence of 5 calls, from cell"


def test_arrows_run_down_in_the_order_of_time_and_tell_how_long_it_took():
    root = drawn(ORDER)
    assert texts(root, "said") == [
        "create", "order.created", "2.0 ms", "order.created \u00b7 17 ms", "charge",
        "\u2717 ask \u00b7 13 ms", "15 ms",
    ]  # fmt: skip
    ys = [float(e.get("y")) for e in parts(root, "said")]
    assert ys == sorted(ys)
    assert texts(root, "time") == ["0.0 ms", "1.0 ms", "3.0 ms", "4.0 ms", "5.0 ms"]


def test_what_failed_says_so_by_more_than_colour():
    (failed,) = [e for e in parts(drawn(ORDER), "arrow") if "failed" in e.get("class")]
    assert failed.find(f"{SVG}title").text == "ask\ntook 13 ms\nTimeoutError: late"


def test_an_undo_is_called_one():
    undo = call("event:order.created", "port:o.Order.pay", "undo pay", 11.0, 11.002, "consumes")
    assert texts(drawn([*ORDER, undo]), "said")[-1] == "undo pay \u00b7 2.0 ms"


def test_what_is_under_way_when_the_trace_ends_has_no_answer():
    root = drawn([call("http", "model:o.Order", "create", 1.0, None)])
    assert texts(root, "said") == ["create"]
    bar = parts(root, "bar")[0]
    assert float(bar.get("height")) > 10


def test_a_call_to_oneself_is_a_loop_inside_the_picture():
    root = drawn([call("model:o.Order", "model:o.Order", "update_" + "x" * 60, 1.0, 1.1)])
    right = max(float(e.get("x")) for e in parts(root, "said"))
    assert right < float(root.get("width"))


def test_names_are_text_whatever_they_hold():
    nasty = [call("cell", f"part:o.{NASTY}", NASTY, 1.0, 2.0, error=NASTY, about=NASTY)]
    svg = render(sequence(nasty))
    ET.fromstring(svg)
    assert "<script" not in svg
    text = mermaid(sequence(nasty))
    assert "<" not in text.replace("<<", "")
    assert len(text.splitlines()) == 5
    assert all(re.fullmatch(r"[^;]*(#\d+;[^;]*)*", line) for line in text.splitlines())


def test_a_long_trace_is_cut_and_says_by_how_much():
    calls = [call("cell", "part:o.P", f"c{n}", n, n + 0.5) for n in range(MOST + 40)]
    root = drawn(calls, left_out=7)
    assert len(parts(root, "arrow")) == MOST
    assert texts(root, "more") == ["and 47 more"]
    assert mermaid(sequence(calls, 7)).endswith("and 47 more")


def test_a_hundred_calls_are_drawn_the_same_each_time_and_wide_names_stay_inside():
    calls = [
        call(
            f"port:o.Order.{'very_long_' * 20}{n % 7}", f"part:o.Part{n % 5}", "ask" * 30, n, n + 1
        )
        for n in range(100)
    ]
    svg = render(sequence(calls))
    assert svg == render(sequence(calls))
    root = ET.fromstring(svg)
    assert float(root.get("width")) < 12 * 260
    assert float(root.get("height")) < 100 * 60


def test_nothing_called_says_what_to_do():
    assert "with host.trace()" in render(sequence([]))
    assert mermaid(sequence([])) == "sequenceDiagram"


def test_mermaid_has_the_same_arrows():
    assert mermaid(sequence(ORDER)).splitlines() == [
        "sequenceDiagram",
        "    participant p0 as cell",
        "    participant p1 as Order",
        "    participant p2 as events",
        "    participant p3 as pay",
        "    participant p4 as Cards",
        "    participant p5 as Http",
        "    p0->>p1: create",
        "    p1-)p2: order.created",
        "    p1-->>p0: 2.0 ms",
        "    p2-)p3: order.created \u00b7 17 ms",
        "    p3->>p4: charge",
        "    p4->>p5: ask \u00b7 13 ms",
        "    p5--xp4: TimeoutError: late",
        "    p4-->>p3: 15 ms",
    ]
