"""The versions of a component as a cell shows them, and what comes by itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from aegis.core.versions import Followed, Versions
from aegis_kernel.tables import BAD, DIM, GOOD, cell, moment, table


class VersionsView:
    """The versions of a component. `versions` has them as values."""

    def __init__(self, versions: Versions) -> None:
        self.versions = versions

    def __repr__(self) -> str:
        return str(self.versions)

    def _repr_html_(self) -> str:
        found = self.versions
        parts = [f"<div><strong>{cell(found.name)}</strong> {cell(found.serves or 'is not live')}"]
        if found.previous is not None:
            parts.append(f'<span style="{DIM}">before: {cell(found.previous)}</span>')
        if found.loaded:
            parts.append(f'<span style="{DIM}">for flows: {cell(", ".join(found.loaded))}</span>')
        parts.append("</div>")
        rows = [
            [
                f'<span style="color:{GOOD}">\u25cf</span>' if one.live else "",
                str(one.number),
                f"<strong>{cell(one.version)}</strong>",
                f"<code>{cell(one.digest[:8])}</code>",
                cell(one.origin),
                f"<code>{cell(one.resolved[:12])}</code>" if one.resolved else "",
                cell(one.who),
                moment(one.time, one.time[:19].replace("T", " ")),
            ]
            for one in found.deployments
        ]
        columns = ["", "number", "version", "digest", "from", "at", "who", "when"]
        parts.append(table(columns, rows) if rows else "")
        if found.address is not None:
            parts.append(f"<div>{cell(found.address)}: {cell(found.offered, 200)}</div>")
        if found.followed is not None:
            parts.append(FollowingView([found.followed])._repr_html_())
        return f'<div style="overflow-x:auto">{" ".join(parts)}</div>'


class FollowingView:
    """What is followed. `followed` has it as values."""

    def __init__(self, followed: Sequence[Followed]) -> None:
        self.followed = list(followed)

    def __repr__(self) -> str:
        return "\n".join(map(str, self.followed)) or "nothing is followed"

    def _repr_html_(self) -> str:
        if not self.followed:
            return "<div>nothing is followed</div>"
        rows = [
            [
                f"<strong>{cell(one.name)}</strong>",
                cell(one.serves or ""),
                cell(one.address),
                cell(one.range),
                cell(one.newest or ""),
                f"{one.every:g} s",
                "<br>".join(
                    f'<span style="color:{BAD}">{escape(text)}</span>' for text in one.ails
                ),
            ]
            for one in self.followed
        ]
        return table(["component", "serves", "follows", "range", "newest", "every", ""], rows)
