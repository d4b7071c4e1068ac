"""Views of a host show themselves in three ways: as data, without a network or kernel, as a widget."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.kernel.process import ORDERS, Kernel

VIEW = "application/vnd.aegis.view+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
CELLS = [
    ORDERS,
    "with host.trace() as trace:\n    order = host.create(Order, total='9.50')",
    "host.graph()",
    "host.ports()",
    "host.components()",
    "host.events('*')",
    "host.flow(order)",
    "host.flows(order)",
]
VIEWS = ["trace", "graph", "ports", "components", "events", "flow", "flow"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, kernelspec: None) -> Iterator[Kernel]:
    """A kernel in which one order went through."""
    kernel = Kernel(tmp_path_factory.mktemp("shop"), AEGIS_EPHEMERAL="1")
    for cell in CELLS[:2]:
        assert kernel.run(cell).status == "ok"
    yield kernel
    kernel.close()


def bundle(kernel: Kernel, expression: str) -> dict[str, Any]:
    """What a cell that ends in `expression` would show."""
    kernel.run("import json; shown = get_ipython().display_formatter.format")
    return json.loads(kernel.value(f"json.dumps(shown({expression})[0])"))


@pytest.mark.parametrize(
    ("expression", "name", "picture", "words"),
    [
        ("host.graph()", "graph", True, "port:orders.Order.authorize"),
        ("host.ports()", "ports", False, "Order.authorize: 1 so far"),
        ("host.components()", "components", False, "orders 1.0.0 ("),
        ("host.events('order.*')", "events", False, "order.created"),
        ("host.flow(order)", "flow", False, "completed: \u2713 authorize"),
        ("host.flow(host.flow(order).flow.id)", "flow", False, "completed"),
        ("host.flows(order)", "flow", False, "completed"),
        ("trace", "trace", True, "cell -> model:orders.Order: create"),
    ],
)
def test_a_view_is_data_and_html_and_text(
    shop: Kernel, expression: str, name: str, picture: bool, words: str
) -> None:
    found = bundle(shop, expression)
    assert found[VIEW]["view"] == name
    assert words in found["text/plain"]
    assert ("image/svg+xml" in found) is picture
    html = found["text/html"]
    assert "<svg" in html if picture else "<table" in html
    assert not re.findall(r"<script|https?://(?!www\.w3\.org/2000/svg)", html)
    # Nobody is at this kernel with a browser, so a widget would be shown by nobody.
    assert WIDGET not in found


def test_a_graph_has_the_figures_of_the_moment(shop: Kernel) -> None:
    found = bundle(shop, "host.graph()")
    figure = found[VIEW]["figures"]["port:orders.Order.authorize"]
    assert figure["calls"] == 1
    assert figure["state"] == "ok"
    texts = re.findall(r'<text class="figure"[^>]*>([^<]*)<', found["image/svg+xml"])
    assert any(re.fullmatch(r"1 \u00b7 .+ (ms|\u00b5s)", text) for text in texts)


def test_events_are_still_a_list_of_events(shop: Kernel) -> None:
    assert shop.value("[event.type for event in host.events('*')]") == (
        "['order.created', 'payment.authorized']"
    )
    assert (
        shop.value("type(host.events('*')[:1]) is list and not host.events('nobody.*')") == "True"
    )


def test_a_trace_tells_what_happened_inside_and_what_it_set_off(shop: Kernel) -> None:
    assert shop.value("[(c.source, c.target) for c in trace.calls]") == str(
        [
            ("cell", "model:orders.Order"),
            ("model:orders.Order", "event:order.created"),
            ("event:order.created", "port:orders.Order.authorize"),
            ("port:orders.Order.authorize", "part:orders.CardPayments"),
            ("port:orders.Order.authorize", "event:payment.authorized"),
        ]
    )
    assert shop.value("trace.mermaid").startswith("sequenceDiagram\n    participant p0 as cell")


def test_a_trace_of_a_failure_shows_it_and_lets_it_through(shop: Kernel) -> None:
    reply = shop.run("with host.trace() as bad:\n    host.create(Order, total='much')")
    assert reply.status == "error"
    assert "<svg" in reply.html
    assert "host.create" in reply.traceback


def test_a_trace_can_be_awaited(shop: Kernel) -> None:
    cell = "async with host.aio.trace() as t:\n    await host.aio.create(Order, total='1')"
    assert "<svg" in shop.run(cell).html


def test_a_widget_has_the_view_the_picture_and_its_own_script(shop: Kernel) -> None:
    shop.run("graph = host.graph().widget")
    assert shop.value("graph.view['view'] + graph.svg[:4] + str('aegis' in graph._esm)") == (
        "graph<svgTrue"
    )
    shop.run("graph.close()")


def test_a_person_without_our_extension_gets_a_widget_that_talks_to_the_host(shop: Kernel) -> None:
    shown: list[dict[str, Any]] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "execute_result":
            shown.append(message["content"]["data"])

    shop.client.execute_interactive(
        "host.ports()", output_hook=hear, allow_stdin=True, stdin_hook=print, timeout=30
    )
    (data,) = shown
    assert data[VIEW]["view"] == "ports"
    comm = data[WIDGET]["model_id"]
    opening = {"kind": "open", "protocol": 1, "version": "0", "rights": ["view"]}
    content = {"comm_id": comm, "data": {"method": "custom", "content": opening}}
    shop.client.shell_channel.send(shop.client.session.msg("comm_msg", content))
    kinds: list[str] = []
    while "frame" not in kinds:
        message = shop.client.get_iopub_msg(timeout=10)
        if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == comm:
            assert message["content"]["data"]["method"] == "custom"
            kinds.append(message["content"]["data"]["content"]["kind"])
    assert kinds == ["hello", "frame"]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory, kernelspec: None) -> Path:
    """A notebook with all views, run by papermill."""
    folder = tmp_path_factory.mktemp("papermill")
    cells = [new_code_cell(cell) for cell in CELLS]
    kernel = {"name": "aegis", "display_name": "Aegis", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "in.ipynb")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("AEGIS_EPHEMERAL", "1")
        warnings.simplefilter("ignore")  # papermill and what it imports have deprecations of theirs
        import papermill

        papermill.execute_notebook(folder / "in.ipynb", folder / "out.ipynb", progress_bar=False)
    return folder / "out.ipynb"


def test_papermill_keeps_all_views_and_no_widget(notebook: Path) -> None:
    saved = nbformat.read(notebook, as_version=4)
    shown = [output.data for cell in saved.cells[1:] for output in cell.outputs]
    assert [data[VIEW]["view"] for data in shown] == VIEWS
    assert all("text/html" in data and WIDGET not in data for data in shown)
    assert "widgets" not in saved.metadata


@pytest.mark.parametrize("words", [["out.ipynb"], ["--execute", "in.ipynb"]], ids=["saved", "run"])
def test_nbconvert_shows_all_views_without_a_network(
    notebook: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AEGIS_EPHEMERAL", "1")
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "--output", "page.html", *words],
        cwd=notebook.parent,
        check=True,
        capture_output=True,
    )
    page = (notebook.parent / "page.html").read_text()
    body = page[page.index("<main") :]
    pictures = re.findall(r"<svg [^>]*aegis-graph[^>]*>", body)
    assert len(pictures) == 2
    assert body.count("<table") >= 5
    assert "1 \u00b7 " in body
    assert "vnd.jupyter.widget" not in body
    assert "<script" not in body
