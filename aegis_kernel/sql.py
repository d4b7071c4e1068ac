"""Answers in SQL as a notebook shows them, and what a cell of SQL means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from aegis_kernel.tables import DIM, ROWS, cell, short, table

if TYPE_CHECKING:
    from aegis.adapters.analyst.duckdb import Answer
    from aegis_kernel.notebook import Notebook


class SqlTable:
    """What came out of a question, shown as a table; it stays as of event `seq` of the journal.

    `relation` is it as a relation of DuckDB, `df()`, `arrow()` and `pl()` give it to others;
    iterating it and `rows()` give tuples.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.seq = answer.seq
        self.columns = answer.columns
        self.relation = answer.relation
        self.rows = answer.rows
        self.df = answer.df
        self.arrow = answer.arrow
        self.pl = answer.pl

    def __len__(self) -> int:
        return len(self._answer)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._answer)

    def _said(self) -> str:
        """How much there is, and as of when."""
        count, more = len(self), len(self) - ROWS
        rows = f"{count:,} row{'' if count == 1 else 's'}"
        return f"{rows}, as of event {self.seq:,}" + (f"; {more:,} more" if more > 0 else "")

    def __repr__(self) -> str:
        shown = [[short(" ".join(str(value).split())) for value in row] for row in self.rows(ROWS)]
        widths = [max(map(len, column)) for column in zip(self.columns, *shown, strict=True)]
        lines = (
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in (self.columns, *shown)
        )
        return "\n".join([*lines, f"({self._said()})"])

    def _repr_html_(self) -> str:
        rows = [[cell(value) for value in row] for row in self.rows(ROWS)]
        return (
            f'<div style="overflow-x:auto">{table(self.columns, rows)}'
            f'<div style="{DIM}">{self._said()}</div></div>'
        )


def ask(notebook: Notebook, name: str, text: str) -> SqlTable:
    """What the cell `text` answers, bound to `name` if there is one.

    `$total` in it stands for the variable `total` of the notebook. Raises SqlError, UsageError.
    """
    from aegis.adapters.analyst.duckdb import parameters

    if name and not name.isidentifier():
        raise UsageError(f"{name!r} is no name for the answer: %%aegis_sql [NAME]")
    variables = notebook.shell.user_ns
    wanted = parameters(text)
    missing = sorted(wanted - variables.keys())
    if missing:
        raise UsageError(f"${missing[0]} is a parameter, and there is no variable {missing[0]}")
    given = {parameter: variables[parameter] for parameter in wanted}
    thread = notebook.thread
    answer = SqlTable(thread.call(thread.host.sql, text, **given))
    if name:
        variables[name] = answer
    return answer
