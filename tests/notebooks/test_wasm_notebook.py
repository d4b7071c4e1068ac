"""The chapter on WebAssembly: written, broken, replayed, mended under load, and in two languages."""

from __future__ import annotations

import ast
import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.notebooks.tutorial import check_tidy, texts, type_checked
from tests.orders.sandbox import NOTEBOOKS


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOKS / "wasm.ipynb", as_version=4)


def test_it_is_valid_and_its_outputs_are_cleared(notebook):
    check_tidy(notebook)


def test_its_component_in_python_type_checks(notebook, tmp_path):
    (cell,) = (cell for cell in notebook.cells if cell.id == "shop")
    magic, _, text = cell.source.partition("\n")
    assert magic == "%%component shop 1.0.0"
    assert type_checked(text, tmp_path, "mypy") == ""


@pytest.mark.usefixtures("kernelspec")
def test_it_runs_from_top_to_bottom_and_no_request_fails(notebook):
    client = NotebookClient(
        notebook, kernel_name="aegis", timeout=90, resources={"metadata": {"path": NOTEBOOKS}}
    )
    client.execute()
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    shown = {id: texts(cell) for id, cell in cells.items()}
    assert "parcels 1.0.0" in shown["wat"]
    assert "grams=1200, pieces=4, each=300" in shown["parcel"]
    assert "a module in WebAssembly" in shown["about"]
    assert "it divided by zero, in each" in shown["broken"]
    # The guest's functions and the cell's lines, and none of Python's.
    (error,) = (one for one in cells["trap"].outputs if one.output_type == "error")
    trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    source = cells["wat"].source.split("\n")
    for name, line in (("each", "20"), ("Parcel.weigh", "15")):
        assert re.search(rf"^  {name} +cell 1, line {line}$", trace, re.MULTILINE)
        assert f"(func ${name} " in source[int(line) - 1]
    assert ".py" not in trace
    assert "stopped as then" in shown["replay"]
    assert "1.0.0 -> 1.0.1" in shown["mend"]
    assert "an error now" in shown["again"]
    assert "stopped as then" in shown["then"]
    assert "there is nothing in it" in shown["refused"]
    assert "longer than 0.3 s, in Dream.dream" in shown["stopped"]
    assert re.search(r"^[1-9]\d* parcels were taken", shown["stopped"], re.MULTILINE)
    assert ast.literal_eval(shown["closed"]).keys() == {201}
    (error,) = (one for one in cells["ungranted"].outputs if one.output_type == "error")
    assert "nobody granted it" in "\n".join(error.traceback)
    assert re.search(r"at=1[78]\d{11}\)", shown["stamp"])
    assert "javascript/shipping" in shown["build"]
    assert "shipping 1.0.0" in shown["shipping"]
    for step in ("send", "pick_order", "ship_order", "track_shipment", "verify_delivery"):
        assert f"✓ {step}" in shown["order"]
    assert "completed" in shown["order"]
    assert "to be taken to 7 Mill Lane" in shown["order"]
    assert "COMPLETE" in shown["shipment"]
    assert "port shop.Order.send" in shown["graph"].replace("port:", "port ")
