"""A notebook file as a value, .ipynb or .py: its code cells, their tags and its parameters."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aegis.core.errors import AegisError, closest

# A line that begins a cell of a percent notebook, as jupytext reads it.
PERCENT = re.compile(r"^\s*#\s*%%(%*\s|\s*$)", re.MULTILINE)
SKIPPED = frozenset({"aegis-skip", "skip-execution", "injected-parameters"})


class NotebookError(AegisError):
    """The notebook, or what was said about it, cannot be used."""

    status = 422
    title = "Unusable notebook"


class HalfWrittenError(NotebookError):
    """The file ends too early or is no JSON: it may be about to be written."""


class Stopped(BaseException):  # no `except Exception` of a cell may stop it
    """Raised in whatever runs on the main thread when the process is told to end."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A code cell. `number` counts code cells from 1, as `In[number]` after a run of all.

    `line` is where its source begins in a file that is read as text, counted from 1.
    """

    number: int
    id: str
    source: str
    tags: frozenset[str]
    line: int | None = None

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"cell {self.number}" + (f" (id {self.id})" if self.id else "")


def read_cells(path: Path) -> tuple[Cell, ...]:
    """The code cells of a notebook. Raises NotebookError, in one line, when it is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotebookError(f"{path} does not exist") from None
    except OSError as error:
        raise NotebookError(f"{path} cannot be read: {error.strerror}") from None
    return _percent_cells(path, content) if path.suffix == ".py" else _json_cells(path, content)


def code_of(cells: Sequence[Cell]) -> str:
    """A digest of what a run of `cells` runs: no outputs, no markdown, nothing that is left out."""
    code = [(cell.number, cell.source, sorted(cell.tags)) for cell in running(cells)]
    return hashlib.sha256(repr(code).encode()).hexdigest()


def running(cells: Sequence[Cell]) -> list[Cell]:
    """The cells that a run of the notebook runs."""
    return [cell for cell in cells if not cell.tags & SKIPPED]


def _json_cells(path: Path, content: bytes) -> tuple[Cell, ...]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise HalfWrittenError(f"{path} is no notebook: it is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("nbformat") != 4:
        found = document.get("nbformat") if isinstance(document, dict) else None
        raise NotebookError(
            f"{path} is no notebook of format 4" + (f" but of {found}" if found else ""),
            hint="`jupyter nbconvert --to notebook` converts old ones",
        )
    try:
        code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
        return tuple(
            Cell(
                number=number,
                id=str(cell.get("id", "")),
                source="".join(cell["source"]),
                tags=frozenset(cell.get("metadata", {}).get("tags", ())),
            )
            for number, cell in enumerate(code, start=1)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise NotebookError(f"{path} is a damaged notebook: {error!r}") from None


def _percent_cells(path: Path, content: bytes) -> tuple[Cell, ...]:
    """The code cells of a `.py` in jupytext's percent format, by jupytext's own rules."""
    try:
        text = importlib.util.decode_source(content)
    except (UnicodeDecodeError, SyntaxError) as error:
        raise NotebookError(f"{path} has no text in the encoding that it says: {error}") from None
    if not text.strip():
        raise HalfWrittenError(f"{path} is empty")
    if not PERCENT.search(text):
        raise NotebookError(
            f"{path} is no notebook: it has no cell",
            hint="a .py notebook begins its cells with `# %%`; "
            "a component file is deployed from a notebook, with `%aegis deploy`",
        )
    from aegis_kernel.percent import read_percent

    try:
        return tuple(
            Cell(number=number, id="", source=source, tags=frozenset(tags), line=line)
            for number, (source, tags, line) in enumerate(read_percent(text), start=1)
        )
    except Exception as error:  # noqa: BLE001 -- whatever jupytext and YAML think of a header
        said = " ".join(str(error).split())
        raise NotebookError(f"{path} is a damaged notebook: {said}") from None


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
