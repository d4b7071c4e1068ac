"""What a cell shows of what failed: each failure with its input, and failures by their error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from aegis.api.answers import input_of
from aegis.engine.failures import FailedGroup, groups_of
from aegis.engine.lines import failed_line
from aegis.protocols import Failed
from aegis_kernel.tables import DIM, ROWS, cell, short, table

if TYPE_CHECKING:
    from aegis.engine.host import Host

INPUT = 4000  # characters of an input that are shown
LINE = 160  # of an input in a line of text


class FailedList(list[Failed]):
    """What failed and can be tried again, as a table; `host.retry` takes a line of it.

    `inputs` are what a retry is given, by the id of a failure: the event's data, or the record of a
    flow.
    """

    def __init__(
        self, failed: Iterable[Failed] = (), inputs: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__(failed)
        self.inputs = dict(inputs or {})

    def __repr__(self) -> str:
        lines = [f"{failed.id} {failed.subject or ''}: {failed.error}" for failed in self]
        for place, failed in enumerate(self):
            given = self.inputs.get(failed.id)
            if given is not None:
                lines[place] += f"\n    input: {short(json.dumps(given, default=str), LINE)}"
        groups = [group for group in groups_of(self) if group.count > 1]
        if groups:
            lines = [repr(FailedGroups(groups)), *lines]
        return "\n".join(lines) or "nothing failed"

    def _repr_html_(self) -> str:
        if not self:
            return f'<div style="{DIM}">nothing failed</div>'
        rows = [
            [
                cell(line.what),
                f"<code>{cell(failed.subject or '')}</code>",
                cell(failed.error, 200),
                self._input(failed.id),
                str(failed.attempts) if failed.attempts else "",
                "waits behind an earlier one" if failed.held else "",
                cell(failed.time),
            ]
            for failed, line in ((failed, failed_line(failed)) for failed in self[:ROWS])
        ]
        more = len(self) - len(rows)
        rest = f'<div style="{DIM}">and {more} more</div>' if more else ""
        columns = ["what", "about", "why", "input", "failed attempts", "", "when"]
        groups = FailedGroups(group for group in groups_of(self) if group.count > 1)
        head = groups._repr_html_() if groups else ""
        return f'{head}<div style="overflow-x:auto">{table(columns, rows)}{rest}</div>'

    def _input(self, id: str) -> str:
        given = self.inputs.get(id)
        if given is None:
            return ""
        text = short(json.dumps(given, indent=1, default=str, ensure_ascii=False), INPUT)
        pre = f'<pre style="margin:0;white-space:pre-wrap">{escape(text)}</pre>'
        return f"<details><summary>{len(given)} fields</summary>{pre}</details>"


class FailedGroups(list[FailedGroup]):
    """What failed, by its error, as a table; `host.retry_all` takes a line of it."""

    def __repr__(self) -> str:
        lines = (f"{group.id} {group.count} x {group.what}: {group.error}" for group in self)
        return "\n".join(lines) or "nothing failed"

    def _repr_html_(self) -> str:
        if not self:
            return f'<div style="{DIM}">nothing failed</div>'
        rows = [
            [
                str(group.count),
                cell(group.what),
                cell(group.error, 200),
                cell(group.first),
                cell(group.last),
                f"<code>{cell(group.id)}</code>",
            ]
            for group in self[:ROWS]
        ]
        more = len(self) - len(rows)
        rest = f'<div style="{DIM}">and {more} more</div>' if more else ""
        columns = ["failures", "what", "why", "first", "last", "group"]
        return f'<div style="overflow-x:auto">{table(columns, rows)}{rest}</div>'


# --- what asks the host, on its loop --------------------------------------------------------------


async def failed(host: Host) -> FailedList:
    """What failed and can be tried again: events of listeners, and flows that were undone."""
    found = await host.failed()
    inputs = {one.id: await input_of(host, one) for one in found[:ROWS]}
    return FailedList(found, {id: given for id, given in inputs.items() if given is not None})
