"""A notebook file that is run: its code cells, what of them runs, and its parameters."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aegis.adapters.sources.notebook import Cell, NotebookError, cells_of, running
from aegis.core.errors import closest


class Stopped(BaseException):  # no `except Exception` of a cell may stop it
    """Raised in whatever runs on the main thread when the process is told to end."""


def read_cells(path: Path) -> tuple[Cell, ...]:
    """The code cells of a notebook. Raises NotebookError, in one line, when it is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotebookError(f"{path} does not exist") from None
    except OSError as error:
        raise NotebookError(f"{path} cannot be read: {error.strerror}") from None
    return cells_of(content, path)


def code_of(cells: Sequence[Cell]) -> str:
    """A digest of what a run of `cells` runs: no outputs, no markdown, nothing that is left out."""
    code = [(cell.number, cell.source, sorted(cell.tags)) for cell in running(cells)]
    return hashlib.sha256(repr(code).encode()).hexdigest()


# --- parameters -----------------------------------------------------------------------------------


def literal(text: str) -> Any:
    """The value that `-p name text` means.

    A number, True, False, None, a quoted or bracketed literal; all else is the text itself.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    spelled = isinstance(value, bool | int | float | None)
    return value if spelled or text.lstrip()[0] in "[{('\"" else text


def parameter_cell(cells: Sequence[Cell], given: Mapping[str, Any]) -> Cell | None:
    """The cell that `given` overrides: the first one tagged `parameters`.

    Raises NotebookError for a name that it does not assign.
    """
    cell = next((cell for cell in cells if "parameters" in cell.tags), None)
    if not given:
        return cell
    if cell is None:
        raise NotebookError(
            f"parameter {next(iter(given))!r} is given, and no cell takes parameters",
            hint="tag the cell that assigns them with 'parameters'",
        )
    try:
        body = ast.parse(cell.source).body
    except SyntaxError as error:
        raise NotebookError(
            f"{cell.label} takes the parameters and cannot be read: {error}"
        ) from None
    known = [
        target.id
        for statement in body
        for target in getattr(statement, "targets", [getattr(statement, "target", None)])
        if isinstance(target, ast.Name)
    ]
    for name in given:
        if name not in known:
            hint = closest(name, known)
            raise NotebookError(
                f"the notebook has no parameter {name!r}; it has {', '.join(known) or 'none'}",
                hint=hint,
            )
    return cell
