"""What every notebook of the tutorial must be, and how its cells are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat

from tests.orders.sandbox import ROOT


def check_tidy(notebook: nbformat.NotebookNode) -> None:
    """Valid, for the Aegis kernel, with names for its cells and nothing that a run left."""
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "aegis"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


def texts(cell: nbformat.NotebookNode) -> str:
    """What a cell showed as text."""
    shown = (
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    )
    return "\n".join(shown)


def type_checked(text: str, folder: Path, checker: str) -> str:
    """What a type checker says against a component, nothing when it has no objection."""
    file = folder / "tutorial.py"
    file.write_text(text)
    if checker == "mypy":
        command = ["mypy", "--strict", "--config-file=", "--follow-imports=silent", str(file)]
        command += [f"--cache-dir={folder / 'cache'}"]
    else:
        config = {
            "include": [str(file)],
            "extraPaths": [str(ROOT / "runtime")],
            "venvPath": str(ROOT),
            "venv": ".venv",
            "typeCheckingMode": "strict",
        }
        (folder / "pyrightconfig.json").write_text(json.dumps(config))
        command = ["pyright", "-p", str(folder)]
    checked = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MYPYPATH": str(ROOT / "runtime")},
    )
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr
