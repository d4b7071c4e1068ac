"""The audit log as a cell shows it: who changed what runs here, and what was refused."""

from __future__ import annotations

from html import escape

from aegis.core.audit import Action, Audit
from aegis_kernel.tables import BAD, DIM, ROWS, cell, table

COLUMNS = ("", "when", "what", "about", "who", "from", "signed by", "digest", "")


class AuditTable(list[Audit]):
    """Entries of the audit log in their order, as a table."""

    def __repr__(self) -> str:
        return "\n".join(one.line() for one in self) or "nothing was changed"

    def _repr_html_(self) -> str:
        if not self:
            return f'<div style="{DIM}">nothing was changed</div>'
        shown = self[-ROWS:]
        more = len(self) - len(shown)
        before = f'<div style="{DIM}">and {more} before</div>' if more else ""
        rows = table(COLUMNS, map(_row, shown))
        return f'<div style="overflow-x:auto">{before}{rows}</div>'


def _row(one: Audit) -> list[str]:
    action = escape(one.action)
    if one.action is Action.REFUSE:
        action = f'<span style="color:{BAD}">{action}</span>'
    component = one.fields.get("component")
    about = f"{one.about} {component or ''} {one.version}".split()
    return [
        str(one.n),
        cell(one.time),
        action,
        cell(" ".join(about)),
        cell(one.who),
        cell(one.address),
        cell(one.key, 20),
        f"<code>{cell(one.digest[:8])}</code>" if one.digest else "",
        cell(one.detail, 200),
    ]
