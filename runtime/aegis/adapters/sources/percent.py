"""Reads percent notebooks (`# %%`) with jupytext, and finds the lines of their cells."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from jupytext.cell_reader import DoublePercentScriptCellReader  # type: ignore[import-untyped]
from jupytext.config import JupytextConfiguration  # type: ignore[import-untyped]
from jupytext.jupytext import TextNotebookConverter  # type: ignore[import-untyped]


def read_percent(text: str) -> Iterator[tuple[str, Sequence[str], int]]:
    """Source, tags and first line (from 1) of each code cell."""
    lines = text.splitlines()
    total = len(lines)
    starts: list[int] = []

    class Reader(DoublePercentScriptCellReader):  # type: ignore[misc]
        """Jupytext's own, which notes where a cell begins: jupytext itself forgets it."""

        def read(self, lines: list[str]) -> Any:
            starts.append(total - len(lines))
            return super().read(lines)

    converter = TextNotebookConverter(
        {"extension": ".py", "format_name": "percent"}, JupytextConfiguration()
    )
    converter.implementation = copy.copy(converter.implementation)
    converter.implementation.cell_reader_class = Reader
    cells = converter.reads(text).cells
    # What a header says besides jupytext's own becomes a cell that no reader read.
    for cell, start in zip(cells[len(cells) - len(starts) :], starts, strict=True):
        if cell.cell_type == "code":
            yield cell.source, cell.metadata.get("tags", ()), start + _offset(lines[start])


def _offset(marker: str) -> int:
    """From the lines before a cell to the number of its source's first line.

    A cell in another language has its magic where the `# %%` is.
    """
    is_marked = marker.lstrip().startswith("#") and "%%" in marker
    return 2 if is_marked and "language" not in marker else 1
