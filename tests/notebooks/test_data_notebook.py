"""The chapter on data is tidy, type-checks, and runs from top to bottom on the real purchases."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tests.notebooks.tutorial import check_tidy, texts, type_checked
from tests.orders.sandbox import NOTEBOOKS


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOKS / "data.ipynb", as_version=4)


def components(notebook):
    magic = "%%component"
    return [cell.source for cell in notebook.cells if cell.source.startswith(magic)]


def test_it_is_valid_and_its_outputs_are_cleared(notebook):
    check_tidy(notebook)


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_its_components_type_check(notebook, tmp_path, checker):
    for text in components(notebook):
        assert type_checked(text.partition("\n")[2], tmp_path, checker) == ""


@pytest.mark.usefixtures("kernelspec")
def test_it_runs_from_top_to_bottom(notebook):
    client = NotebookClient(
        notebook, kernel_name="aegis", timeout=60, resources={"metadata": {"path": NOTEBOOKS}}
    )
    client.execute()
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    shown = {id: texts(cell) for id, cell in cells.items()}
    assert "6,919 purchases by 2,357 customers" in shown["fill"]
    assert "5 records of Purchase" in shown["query"]
    assert "Customer 1901 was given 56 points" in shown["related"]
    assert "506.97 Customer 1458" in shown["expand"]
    assert "no such shop.Customer" in shown["whole"]
    assert "cannot be deleted" in shown["whole"]
    assert shown["whole"].endswith("57")
    assert "1997-03  1204       43472.10" in shown["sql"]
    assert any("image/png" in output.get("data", {}) for output in cells["plot"].outputs)
    assert "1000" in shown["past"]
    assert "correct horse" not in str([cell.outputs for cell in cells.values()])
    assert "another Member has this email" in shown["private"]
    assert "sealed anew" in shown["key"]
    assert "2,357 records would be migrated" in shown["preview"]
    assert "2,357 records migrated" in shown["deploy"]
    assert "first_name='Customer', last_name='1901'" in shown["deploy"]
    assert "2,357 records taken back" in shown["back"]
    assert "name='Customer 1901'" in shown["back-seen"]
