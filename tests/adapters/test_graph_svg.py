"""The picture of a graph: well-formed, the same each time, safe whatever the names, patchable."""

import hashlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import msgspec
import pytest

from aegis.adapters.graph.svg import element_id, render
from aegis.core.graph import Edge, Graph, Node
from aegis.core.wire import Figure

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert(1)</script>\"'&]]>\x00 \u202e\U0001f600"


def flow(*names, component="orders", model="Order"):
    """A model and a chain of ports, each with its adapter."""
    me = f"model:{component}.{model}"
    nodes = [
        Node(me, "model", model, component, f"/{component} \u00b7 3 fields"),
        Node(f"event:{component}.created", "event", f"{component}.created", component),
    ]
    edges = [Edge(me, "store", "stores"), Edge(me, nodes[-1].id, "produces")]
    for name in names:
        port, part = f"port:{component}.{model}.{name}", f"part:{component}.Does_{name}"
        event = f"event:{component}.{name}"
        edges += [
            Edge(me, port, "has"),
            Edge(nodes[-1].id, port, "consumes"),
            Edge(port, event, "produces"),
            Edge(port, part, "uses"),
            Edge(port, part, "undo"),
        ]
        nodes += [
            Node(port, "port", name, component, "5 s, 2 retries \u00b7 undo back"),
            Node(part, "adapter", f"Does_{name}", component),
            Node(event, "event", f"{component}.{name}", component),
        ]
    return [*nodes], edges


def graph(*flows):
    nodes = [node for some, _ in flows for node in some]
    edges = [edge for _, some in flows for edge in some]
    return Graph((*nodes, Node("store", "store", "store", "")), tuple(edges))


CHAIN = graph(flow("validate", "authorize", "check", "pick", "ship", "track", "verify", "complete"))


def ids(svg):
    return [element.get("id") for element in ET.fromstring(svg).iter() if element.get("id")]


def boxes(svg, kind):
    """The frames of the nodes of `kind` as (left, top, right, bottom)."""
    found = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class") == f"node {kind}":
            rect = next(e for e in group.iter(f"{SVG}rect") if e.get("class") == "shape")
            x, y, w, h = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
            found.append((x, y, x + w, y + h))
    return found


def test_every_node_and_every_edge_has_one_element_with_its_id():
    found = ids(render(CHAIN))
    expected = {element_id(thing.id) for thing in (*CHAIN.nodes, *CHAIN.edges)}
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_an_element_says_what_it_stands_for():
    root = ET.fromstring(render(CHAIN))
    port = next(e for e in root.iter() if e.get("id") == "port:orders.Order.authorize")
    assert port.get("data-kind") == "port"
    assert port.get("data-component") == "orders"
    assert port.find(f"{SVG}title").text == "port authorize\n5 s, 2 retries \u00b7 undo back"
    edge = next(e for e in root.iter() if (e.get("id") or "").startswith("consumes:"))
    assert edge.get("data-source") == "event:orders.created"
    assert edge.get("data-target") == "port:orders.Order.validate"
    assert root.get("role") == "img"
    assert root.get("aria-label") == (
        "Graph of orders: 1 model, 8 ports, 9 events, 8 adapters, 1 store"
    )


def test_no_two_nodes_overlap_and_a_long_flow_stays_as_wide_as_a_page():
    svg = render(CHAIN)
    found = [box for kind in ("model", "port", "event", "adapter") for box in boxes(svg, kind)]
    assert len(found) == 26
    for number, (left, top, right, bottom) in enumerate(found):
        for other in found[number + 1 :]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart
    root = ET.fromstring(svg)
    width, height = (float(root.get(name)) for name in ("width", "height"))
    assert root.get("viewBox") == f"0 0 {width:.0f} {height:.0f}"
    assert width < 1300
    assert all(x >= 0 and right <= width and bottom <= height for x, _, right, bottom in found)


def test_flows_run_from_left_to_right():
    validate, authorize = boxes(render(graph(flow("validate", "authorize"))), "port")
    assert validate[2] < authorize[0]
    assert validate[1] == authorize[1]


def test_an_event_of_another_component_is_shown_as_a_reference_to_it():
    nodes, edges = flow("pack")
    other, more = flow("ship", component="shipping", model="Shipment")
    joined = Edge("event:orders.pack", "port:shipping.Shipment.ship", "consumes")
    svg = render(graph((nodes, edges), (other, [*more, joined])))
    assert ids(svg).count(element_id(joined.id)) == 1
    references = {e.get("data-ref") for e in ET.fromstring(svg).iter() if e.get("data-ref")}
    assert references == {"event:orders.pack", "port:shipping.Shipment.ship", "store"}


def test_names_are_text_whatever_they_hold():
    nasty = Graph(
        (
            Node(f"model:{NASTY}", "model", NASTY, NASTY, NASTY),
            Node(f"event:{NASTY}", "event", NASTY, NASTY, NASTY),
            Node(f"port:{NASTY}", "port", NASTY, NASTY, NASTY),
            Node("part:x", "adapter", NASTY, NASTY, NASTY),
        ),
        (
            Edge(f"model:{NASTY}", f"port:{NASTY}", "has"),
            Edge(f"event:{NASTY}", f"port:{NASTY}", "consumes"),
            Edge(f"port:{NASTY}", "part:x", "uses"),
        ),
    )
    svg = render(nasty)
    root = ET.fromstring(svg)
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert "<script" not in svg
    svg.encode()
    assert all(re.fullmatch(r"[!-~]+", id) for id in ids(svg))
    assert len(ids(svg)) == 7


def test_kinds_of_later_versions_are_drawn_and_edges_to_nowhere_left_out():
    svg = render(
        Graph((Node("x:a", "gadget", "a", "c"),), (Edge("x:a", "x:gone", "uses"),)),
    )
    assert ids(svg) == ["x:a"]


def test_what_runs_as_webassembly_is_told_apart_and_nothing_else_is_drawn_otherwise():
    nodes, edges = flow("pick", component="depot")
    there = [
        msgspec.structs.replace(node, language="wasm" if node.kind != "event" else "")
        for node in nodes
    ]
    plain, told = graph(flow("pay"), (nodes, edges)), graph(flow("pay"), (there, edges))
    before, after = ET.fromstring(render(plain)), ET.fromstring(render(told))
    marked = {node.id for node in told.nodes if node.language == "wasm"}
    elements = {element.get("data-id"): element for element in after.iter(f"{SVG}g")}
    for node in told.nodes:
        element = elements[node.id]
        assert (element.get("data-language") == "wasm") == (node.id in marked)
        assert ("(WebAssembly)" in element.findtext(f"{SVG}title")) == (node.id in marked)
    (mark,) = [text for text in after.iter(f"{SVG}text") if text.get("class") == "caption language"]
    assert mark.text == "wasm"
    names = {text.text: text for text in after.iter(f"{SVG}text") if text.get("class") == "name"}
    assert names["depot"].findtext(f"{SVG}title") == "depot, in WebAssembly"
    assert names["orders"].findtext(f"{SVG}title") == "orders"
    # It takes no place: all else is where it was.
    places = [
        [(rect.get("x"), rect.get("y"), rect.get("width")) for rect in svg.iter(f"{SVG}rect")]
        for svg in (before, after)
    ]
    assert places[0] == places[1]


def test_a_circle_of_events_is_drawn():
    nodes, edges = flow("ping", "pong")
    edges.append(Edge("event:orders.pong", "port:orders.Order.ping", "consumes"))
    loop = graph((nodes, edges))
    assert set(ids(render(loop))) == {element_id(t.id) for t in (*loop.nodes, *loop.edges)}


def test_long_names_are_shortened_and_stand_whole_in_the_tooltip():
    name = "authorize_" + "very_" * 40 + "carefully"
    svg = render(graph(flow(name)))
    labels = [e.text for e in ET.fromstring(svg).iter() if e.get("class") == "label"]
    short = next(label for label in labels if label.startswith("authorize_very"))
    assert len(short) < 40
    assert short.endswith("carefully"[-6:])
    titles = [e.text for e in ET.fromstring(svg).iter(f"{SVG}title")]
    assert any(title.startswith(f"port {name}\n") for title in titles)


def test_an_empty_graph_says_what_to_do():
    svg = render(Graph())
    assert "Nothing is deployed yet" in svg
    ET.fromstring(svg)


@pytest.mark.parametrize("seed", ["0", "7"])
def test_the_same_graph_gives_the_same_bytes_in_every_process(seed):
    code = (
        "import hashlib, msgspec, sys\n"
        "from aegis.core.graph import Graph\n"
        "from aegis.adapters.graph.svg import render\n"
        "graph = msgspec.json.decode(sys.stdin.buffer.read(), type=Graph)\n"
        "print(hashlib.sha256(render(graph).encode()).hexdigest())\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        input=msgspec.json.encode(CHAIN),
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
    )
    assert there.stdout.decode().strip() == hashlib.sha256(render(CHAIN).encode()).hexdigest()


def test_five_hundred_nodes_are_drawn_whole():
    many = graph(
        *(flow("a", "b", "c", "d", "e", component=f"c{n:02}", model="M") for n in range(30))
    )
    assert len(many.nodes) > 500
    found = ids(render(many))
    assert len(found) == len(set(found)) == len(many.nodes) + len(many.edges)


def test_colours_come_from_the_theme_with_fallbacks():
    svg = render(CHAIN)
    names = set(re.findall(r"var\((--jp-[a-z0-9-]+)", svg))
    assert {"--jp-content-font-color1", "--jp-layout-color0"} <= names
    assert not re.findall(r"var\(--jp-[a-z0-9-]+\)", svg)
    assert "prefers-color-scheme:dark" in svg


def figured(**figures):
    nodes = {"port": "port:orders.Order.validate", "adapter": "part:orders.Does_validate"}
    edges = {
        "uses": "uses:port:orders.Order.validate>part:orders.Does_validate",
        "undo": "undo:port:orders.Order.validate>part:orders.Does_validate",
        "consumes": "consumes:event:orders.created>port:orders.Order.validate",
    }
    known = {**nodes, **edges}
    return render(CHAIN, {known[name]: figure for name, figure in figures.items()})


def element(svg, id):
    return next(e for e in ET.fromstring(svg).iter() if e.get("id") == element_id(id))


def figure_of(element):
    return [e.text for e in element if e.get("class") == "figure"]


def test_figures_stand_at_their_nodes_and_edges_and_in_the_tooltip():
    failing = Figure(calls=4, errors=4, running=1, p50=3.0, p99=9.0, state="failing", error=NASTY)
    svg = figured(
        port=failing,
        uses=Figure(calls=1234, p50=0.25, p99=1.0, state="ok"),
        undo=Figure(calls=2, state="ok"),
        consumes=Figure(calls=12_000, state="ok"),
    )
    port = element(svg, "port:orders.Order.validate")
    assert port.get("class") == "node port failing running"
    assert figure_of(port) == ["\u26a0 \u25b61 4 \u00b7 3.0 ms"]
    title = port.find(f"{SVG}title").text
    assert title.startswith("port validate\n5 s, 2 retries")
    assert "4 failed" in title
    assert "failing: <script>" in title
    part = "port:orders.Order.validate>part:orders.Does_validate"
    assert figure_of(element(svg, f"uses:{part}")) == ["1.2k \u00b7 0.2 ms"]
    assert figure_of(element(svg, f"undo:{part}")) == ["\u21b6 2"]
    edge = "consumes:event:orders.created>port:orders.Order.validate"
    assert figure_of(element(svg, edge)) == ["12k"]
    assert "<script" not in svg


def test_figures_change_no_place():
    plain, live = render(CHAIN), figured(port=Figure(calls=1, p50=1.0, p99=1.0, state="ok"))
    assert re.findall(r'data-at="[^"]+"', plain) == re.findall(r'data-at="[^"]+"', live)
    assert boxes(plain, "port") == boxes(live, "port")
    assert figured(port=Figure()).count('class="figure"') == 0


def test_every_place_for_figures_is_inside_the_picture():
    root = ET.fromstring(render(CHAIN))
    places = [e.get("data-at").split(" ") for e in root.iter() if e.get("data-at")]
    assert len(places) > 30
    width, height = (float(root.get(name)) for name in ("width", "height"))
    assert all(0 < float(x) < width and 0 < float(y) < height for x, y in places)


def test_an_event_that_three_hundred_hear_is_drawn_in_a_moment():
    nodes, edges = flow("pay")
    for number in range(300):
        ear = f"listener:ears.hear{number}"
        nodes.append(Node(ear, "listener", f"hear{number}", "ears"))
        edges.append(Edge("event:orders.pay", ear, "consumes"))
    began = time.perf_counter()
    found = ids(render(graph((nodes, edges))))
    took = time.perf_counter() - began
    assert len(found) == len(set(found)) == len(nodes) + 1 + len(edges)
    # It took eight seconds while all lines at one box were set apart.
    assert took < 5
