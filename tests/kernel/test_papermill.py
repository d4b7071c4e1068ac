"""papermill runs a notebook on the kernel, with its parameters and its components."""

from __future__ import annotations

import warnings
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

GREETER = """%%component greeter 1.0.0
from aegis import Model


class Greeting(Model, endpoint="greetings"):
    text: str
"""


def _notebook() -> nbformat.NotebookNode:
    cells = [
        new_code_cell('word = "hello"', metadata={"tags": ["parameters"]}),
        new_code_cell(GREETER),
        new_code_cell("host.create(Greeting, text=word).text"),
    ]
    kernel = {"name": "aegis", "display_name": "Aegis", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def test_papermill_fills_in_parameters_and_runs_the_component(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AEGIS_EPHEMERAL", "1")
    nbformat.write(_notebook(), tmp_path / "in.ipynb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # papermill and what it imports have deprecations of theirs
        import papermill

        done = papermill.execute_notebook(
            tmp_path / "in.ipynb",
            tmp_path / "out.ipynb",
            parameters={"word": "good morning"},
            progress_bar=False,
        )
    (output,) = done.cells[-1].outputs
    assert output.data["text/plain"] == "'good morning'"
