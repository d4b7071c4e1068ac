"""Graphs of 500 and 5,000 nodes: laid out, drawn in a browser, and patched with new figures."""

from __future__ import annotations

import http.server
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aegis.adapters.graph.svg import render
from aegis.core.graph import Edge, Graph, Node
from tests.bench.figure import Figure
from tests.bench.machine import ROOT
from tests.bench.program import told

STATIC = ROOT / "aegis_kernel" / "static"
# What the whole way to the picture may take, s, and an update of all figures, ms.
WHOLE = {500: 0.8, 5_000: 4.0}
UPDATE = 50.0
CHANGED = 500
UPDATES = 20
PORTS = 5

# A page with one widget, whose host is played by the page itself.
PAGE = """<!doctype html><meta charset="utf-8">
<link rel="stylesheet" href="widget.css"><div id="place"></div>
<script type="module">
import widget from "./widget.js";
const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
let heard;
const state = {};
const model = {
  get: (name) => state[name],
  on: (_, listener) => { heard = listener; },
  off: () => undefined,
  send: () => undefined,
};
const tasks = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) tasks.push(entry.duration);
}).observe({entryTypes: ["longtask"]});
let cursor = 0;
window.draw = async (given) => {
  Object.assign(state, given);
  const began = performance.now();
  widget.render({model, el: document.getElementById("place")});
  await painted();
  return performance.now() - began;
};
window.greet = () => {
  const rights = ["view"];
  heard({kind: "hello", protocol: 1, version: "0", boot: "b", capability: "c", rights});
};
window.patch = async (figures, digest) => {
  const status = {address: "", data: null, notebook: "", graph: digest, components: [],
    problems: [], waiting: [], flows_open: 0, events: 0, failed: 0};
  const frame = {kind: "frame", cursor: cursor + 1, since: cursor, reset: cursor === 0, time: "",
    rate: 0, status, figures, events: [], skipped: 0, flows: [], failed: null, log: []};
  cursor += 1;
  await painted();
  tasks.length = 0;
  const began = performance.now();
  heard(frame);
  await painted();
  const took = performance.now() - began;
  await new Promise((done) => setTimeout(done, 60));
  return [took, Math.max(0, ...tasks), document.querySelector(".aegis-Graph-paper")
    .shadowRoot.querySelectorAll("text.figure").length];
};
window.zoomed = async () => {
  const began = performance.now();
  document.querySelector(".aegis-Graph .aegis-Button:last-child").click();
  await painted();
  return performance.now() - began;
};
window.ready = true;
</script>
"""


def sample(size: int) -> Graph:
    """A graph of about `size` nodes as components make it: chains, adapters, a shared event."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    for number in range(size // (3 + 3 * PORTS)):
        name = f"c{number:03}"
        model = f"model:{name}.Order"
        event = f"event:{name}.created"
        ear = f"listener:{name}.tell"
        nodes += [
            Node(model, "model", "Order", name, f"/{name} \u00b7 12 fields"),
            Node(event, "event", f"{name}.created", name),
            Node(ear, "listener", "tell", name, "30 s, 3 retries"),
        ]
        edges += [
            Edge(model, "store", "stores"),
            Edge(model, event, "produces"),
            Edge("event:c000.created", ear, "consumes"),
            Edge(f"event:c{max(number - 1, 0):03}.step1", ear, "consumes"),
        ]
        for step in range(PORTS):
            port, part = f"port:{name}.Order.step{step}", f"part:{name}.Adapter{step}"
            nodes += [
                Node(port, "port", f"step{step}", name, "5 s, 2 retries \u00b7 undo back"),
                Node(part, "adapter", f"Adapter{step}", name),
                Node(f"event:{name}.step{step}", "event", f"{name}.step{step}", name),
            ]
            edges += [
                Edge(model, port, "has"),
                Edge(event, port, "consumes"),
                Edge(port, f"event:{name}.step{step}", "produces"),
                Edge(port, part, "uses"),
                Edge(port, part, "undo"),
            ]
            event = f"event:{name}.step{step}"
    return Graph((*nodes, Node("store", "store", "store", "")), tuple(dict.fromkeys(edges)))


def measure(directory: Path) -> list[Figure]:
    figures: list[Figure] = []
    (directory / "index.html").write_text(PAGE)
    for name in ("widget.js", "widget.css"):
        shutil.copy(STATIC / name, directory / name)
    with _page(directory) as fresh:
        for size, whole in WHOLE.items():
            figures += _measured(sample(size), whole, fresh())
    return figures


def _measured(graph: Graph, whole: float, page: Any) -> list[Figure]:
    size = len(graph.nodes)
    began = time.perf_counter()
    svg = render(graph)
    laid = time.perf_counter() - began
    view = {"view": "graph", "graph": graph.digest, "figures": {}}
    drawn = page.evaluate("given => window.draw(given)", {"view": view, "svg": svg}) / 1e3
    page.evaluate("window.greet()")
    near, near_note = _updated(graph, page)
    fitted = page.evaluate("window.zoomed()")
    far, far_note = _updated(graph, page)
    told(f"  {size:,} nodes, {len(graph.edges):,} edges: {len(svg) / 1e6:.1f} MB of SVG")
    most = f"{size:,} nodes"
    return [
        Figure(
            name=f"{most}: laid out and drawn",
            value=laid + drawn,
            unit="s",
            most=whole,
            note=f"{laid:.2f} s on the host, {drawn:.2f} s in the browser",
        ),
        Figure(
            name=f"{most}: {CHANGED} other figures, until painted, p50",
            value=near,
            unit="ms",
            most=UPDATE,
            note=near_note,
        ),
        Figure(
            name="  with the whole graph fitted in",
            value=far,
            unit="ms",
            most=UPDATE,
            note=f"{far_note}; to fit it in took {fitted:.0f} ms",
        ),
    ]


def _updated(graph: Graph, page: Any) -> tuple[float, str]:
    """The median of some updates in ms, and what else there is to say."""
    ids = [item.id for item in (*graph.edges, *graph.nodes) if item.kind not in {"has", "stores"}]
    took, tasks, texts = [], [], 0
    for update in range(UPDATES):
        changed = [ids[(update * 37 + n) % len(ids)] for n in range(min(CHANGED, len(ids)))]
        values = {id: _figure(update) for id in changed}
        ms, task, texts = page.evaluate(
            "([figures, digest]) => window.patch(figures, digest)", [values, graph.digest]
        )
        took.append(ms)
        tasks.append(task)
    took.sort()
    note = f"worst {took[-1]:.0f}, longest task {max(tasks):.0f}, {texts} figures in sight"
    return took[len(took) // 2], note


def _figure(update: int) -> dict[str, Any]:
    failing = update % 5 == 4
    return {
        "calls": update * 251 + 1,
        "errors": update // 5,
        "running": update % 3,
        "p50": 1.5 * update,
        "p99": 9.5 * update,
        "state": "failing" if failing else "ok",
        "error": "TimeoutError: no answer in 5 s" if failing else None,
    }


@contextmanager
def _page(directory: Path) -> Iterator[Callable[[], Any]]:
    """Opens pages of a browser on the files of `directory`."""
    from playwright.sync_api import sync_playwright

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(directory))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )

            def fresh() -> Any:
                page = browser.new_page(viewport={"width": 1400, "height": 1000})
                page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
                page.wait_for_function("window.ready")
                return page

            yield fresh
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
