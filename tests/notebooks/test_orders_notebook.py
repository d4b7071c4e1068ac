"""The tutorial is tidy, type-checks, runs from top to bottom, and serves the same headless."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbclient import NotebookClient

from tests.notebooks.tutorial import check_tidy, texts, type_checked
from tests.orders.sandbox import NOTEBOOK, component_text, partners
from tests.orders.served import Served

SKIP = "aegis-skip"
API = "/aegis/api/openapi.json", "/aegis/api/graph.json"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture
def sandbox(tmp_path):
    with partners(tmp_path / "partners.ledger") as running:
        yield running


def set_parameter(notebook, url):
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    cell.source = f"partners = {url!r}"


def test_it_is_valid_and_its_outputs_are_cleared(notebook):
    check_tidy(notebook)


def test_only_the_cells_that_define_something_are_served(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    served = [cell.source for cell in code if SKIP not in cell.metadata.get("tags", ())]
    assert [source.split()[0] for source in served] == [
        "partners",
        'host.configure({"partners.url":',
        "%%component",
    ]


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_component_type_checks(tmp_path, checker):
    assert type_checked(component_text(), tmp_path, checker) == ""


def test_it_runs_from_top_to_bottom_and_serves_the_same_headless(
    notebook, sandbox, kernelspec, tmp_path
):
    set_parameter(notebook, sandbox.url)
    ask = nbformat.v4.new_code_cell(
        # Headless nobody writes that file and watches it.
        "%aegis undeploy receipts\n"
        "import urllib.request\n"
        f"for path in {API!r}:\n"
        "    with urllib.request.urlopen(host.url(path)) as answer:\n"
        "        print(answer.read().decode())"
    )
    notebook.cells.append(ask)
    client = NotebookClient(
        notebook, kernel_name="aegis", timeout=60, resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    shown = {cell.id: texts(cell) for cell in notebook.cells if cell.cell_type == "code"}
    assert "'COMPLETE', Decimal('565.95'), '7 Mill Lane, Springfield'" in shown["order-total"]
    assert "completed: no error" in shown["flow"]
    assert "'COMPLETE'" in shown["api"]
    assert "asked" in shown["later"].partition("completed: no error")[0]
    assert "completed: no error" in shown["later-twice"]
    assert "refused" in shown["declined"]
    assert "payment.declined" in shown["declined"]
    assert "compensated: ship_order" in shown["silent"]
    assert "carrier/return_shipment    undone" in shown["ledger"]
    assert "/carrier/shop answered 404" in shown["break"]
    assert "completed: no error" in shown["heal"]
    assert "waiting" in shown["approve"].partition("completed: no error")[0]
    assert "compensated" in shown["cancel"]
    assert "'charged': '0.00'" in shown["cancel"]
    assert "'held': '0.00'" in shown["cancel"]
    assert "order.compensated" in shown["why"]
    assert "undone" in shown["why"]
    assert "compensated: pick_order: KeyError: 'adress'" in shown["lost"]
    assert "pickup_address" in shown["replay"]
    assert "Carrier.ship" in shown["replay"]
    assert "completed: no error" in shown["again"]
    assert "APPROVED" in shown["past"]
    assert "Order.ship_order" in shown["ports"]
    assert "order.compensated" in shown["events"]
    assert "part:orders.Parcels" in shown["trace"]
    assert "failed" not in shown["trace"]
    assert "receipts 1.0.0" in shown["file-watch"]
    assert "KeyError: 'email'" in shown["file-fails"]
    assert "KeyError" not in shown["retry"]
    assert sandbox.summary()["double"] == 0
    with Served(tmp_path / "data", sandbox, tmp_path / "serve.log") as served:
        headless = [json.dumps(served.ask("GET", path)[1]) for path in API]
    assert [json.dumps(json.loads(line)) for line in shown[ask.id].splitlines()[1:]] == headless
