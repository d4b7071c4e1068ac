"""The cells of a notebook, .ipynb or percent .py, and the components in them; none of it is run."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aegis.core.address import SCHEME
from aegis.core.errors import AegisError

# A line that begins a cell of a percent notebook, as jupytext reads it.
PERCENT = re.compile(r"^\s*#\s*%%(%*\s|\s*$)", re.MULTILINE)
SKIPPED = frozenset({"aegis-skip", "skip-execution", "injected-parameters"})
# What makes a cell a component, as it is written in a cell and in a percent notebook.
COMPONENT = re.compile(r"^(?:#\s*)?%%(component|wat)((?:[ \t]+\S+)+)[ \t]*$")
# Options of such a cell with which it still deploys what is in it.
DEPLOYS = ("--grant=", "--gate")

MAGICS = (b"%%component", b"%%wat")


class NotebookError(AegisError):
    """The notebook, or what was said about it, cannot be used."""

    status = 422
    title = "Unusable notebook"


class HalfWrittenError(NotebookError):
    """The file ends too early or is no JSON: it may be about to be written."""


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


@dataclass(frozen=True, kw_only=True)
class ComponentCell:
    """A cell that is a component; line 1 of `text` is that of the magic, which is left out.

    It is Python, or text of WebAssembly (see core.wat).
    """

    name: str
    version: str
    text: str
    cell: Cell
    is_wat: bool = False


def cells_of(content: bytes, shown: object) -> tuple[Cell, ...]:
    """The code cells of a notebook, by its content. Raises NotebookError, in one line."""
    if str(shown).endswith(".py"):
        return _percent_cells(shown, content)
    return _json_cells(shown, content)


def is_component_file(address: str) -> bool:
    """Whether an address is a path of a `.py` file, and that is no notebook of components."""
    if not address.endswith(".py") or SCHEME.match(address):
        return False
    try:
        return not has_components(Path(address).expanduser().read_bytes())
    except (OSError, RuntimeError):
        return True


def has_components(content: bytes) -> bool:
    """Whether a `.py` file is a percent notebook with components in it."""
    return any(magic in content for magic in MAGICS) and bool(
        PERCENT.search(content.decode("utf-8", "replace"))
    )


def running(cells: Sequence[Cell]) -> list[Cell]:
    """The cells that a run of the notebook runs."""
    return [cell for cell in cells if not cell.tags & SKIPPED]


def components_of(content: bytes, shown: str) -> dict[str, ComponentCell]:
    """The components of a notebook by name, as the last cell has them that a run would run.

    Raises NotebookError.
    """
    found = {}
    for cell in running(cells_of(content, shown)):
        first, _, text = cell.source.lstrip("\n").partition("\n")
        said = COMPONENT.match(first)
        words = [] if said is None else said[2].split()
        words = [word for word in words if not word.startswith(DEPLOYS)]
        if said is None or len(words) != 2 or words[0].startswith("--"):
            continue
        name, version = words
        found[name] = ComponentCell(
            name=name, version=version, text=f"\n{text}", cell=cell, is_wat=said[1] == "wat"
        )
    return found


def _json_cells(path: object, content: bytes) -> tuple[Cell, ...]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
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


def _percent_cells(path: object, content: bytes) -> tuple[Cell, ...]:
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
    from aegis.adapters.sources.percent import read_percent

    try:
        return tuple(
            Cell(number=number, id="", source=source, tags=_tags(tags), line=line)
            for number, (source, tags, line) in enumerate(read_percent(text), start=1)
        )
    except Exception as error:  # noqa: BLE001 -- whatever jupytext and YAML think of a header
        said = " ".join(str(error).split())
        raise NotebookError(f"{path} is a damaged notebook: {said}") from None


def _tags(said: Any) -> frozenset[str]:
    return frozenset(said)
