"""The chapter on federation: two repositories and a third one, a release by degrees, under load."""

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
    return nbformat.read(NOTEBOOKS / "federation.ipynb", as_version=4)


def test_it_is_valid_and_its_outputs_are_cleared(notebook):
    check_tidy(notebook)


def test_its_components_type_check(tmp_path, monkeypatch):
    folder = NOTEBOOKS / "federation"
    money = (folder / "money" / "money.py").read_text()
    # As shipping gets it: the cell that releases version 2.0.0 adds that.
    money += "\n\ndef postage(weight: int) -> Decimal:\n    return gross(Decimal(3) * weight)\n"
    (tmp_path / "money.py").write_text(money)
    for name in ("money", "orders", "shipping"):
        text = (folder / name / f"{name}.py").read_text()
        assert type_checked(text, tmp_path, "mypy") == ""


@pytest.mark.usefixtures("kernelspec")
def test_it_runs_from_top_to_bottom_and_no_request_fails(notebook):
    client = NotebookClient(
        notebook, kernel_name="aegis", timeout=90, resources={"metadata": {"path": NOTEBOOKS}}
    )
    client.execute()
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    shown = {id: texts(cell) for id, cell in cells.items()}
    assert "nobody is trusted" in shown["refused"]
    assert "shipping 1.0.0" in shown["pin"]
    assert "nobody granted it" in shown["ungranted"]
    assert "orders 1.0.0" in shown["granted"]
    # Each by its own version of the code that both share.
    assert "12.00 and postage of 3.60" in shown["orders"]
    assert "track_shipment (carrier.delivered until" in shown["orders"]
    assert shown["some"] == "20"
    assert "+ field shipping.Shipment.signed_by" in shown["plan"]
    assert "breaking" not in shown["plan"]
    assert "10 same, 0 differ, 0 raise" in shown["gate"]
    calls = [int(found.replace(",", "")) for found in re.findall(r"([\d,]+) calls", shown["split"])]
    assert len(calls) == 2
    assert min(calls) > 0
    assert shown["split"].count(" 0 errors") == 2
    assert "shipping 1.1.0" in shown["promote"]
    assert "the gate refuses shipping" in shown["bad"]
    assert re.search(r"[1-9]\d* raise", shown["bad"])
    assert "shipping@1.1.0" in shown["bad"]
    assert "shipping 1.0.0" in shown["back"]
    assert "shipping 1.1.0" in shown["forth"]
    answers = ast.literal_eval(shown["closed"])
    assert answers.keys() == {201}
    orders = answers[201] + 30
    assert f"{orders} of {orders} orders are COMPLETE" in shown["delivered"]
    assert "3 records of Shipment" in shown["delivered"]
    told = [line.split()[2] for line in shown["audit"].splitlines() if line.strip()]
    assert told == [
        *("refuse", "pin", "deploy", "grant", "deploy", "split", "split", "promote"),
        *("refuse", "rollback", "deploy"),
    ]
