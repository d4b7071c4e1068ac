"""What a cell shows of calls that a sandbox stopped: why, and where the guest was."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from aegis.core.guest import Trap
from aegis_kernel.tables import BAD, DIM, ROWS, cell, table

if TYPE_CHECKING:
    from aegis.engine.host import Host


class TrapList(list[Trap]):
    """Calls that were stopped, the newest last; `host.replay` takes one of them.

    Their `input` may hold what is private, so nothing here shows it.
    """

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "no call was stopped"

    def _repr_html_(self) -> str:
        if not self:
            return f'<div style="{DIM}">no call was stopped</div>'
        rows = [
            [
                cell(trap.time[11:23] or trap.time),
                cell(trap.label, 80),
                cell(trap.function, 80),
                cell(trap.reason, 160),
                backtrace_html(trap),
            ]
            for trap in self[-ROWS:]
        ]
        more = len(self) - len(rows)
        rest = f'<div style="{DIM}">and {more} before them</div>' if more else ""
        columns = ["time", "code", "call", "stopped because", "in"]
        return f'<div style="overflow-x:auto">{table(columns, rows)}{rest}</div>'


def backtrace(trap: Trap) -> list[str]:
    """Its functions, the innermost first, a line each."""
    width = max((len(name) for name in trap.frames), default=0)
    return [f"  {name:<{width}}  {place}".rstrip() for name, place in trap.backtrace]


def backtrace_html(trap: Trap) -> str:
    """Its functions, the innermost first, as a small list."""
    return "".join(
        f'<div><code>{escape(name)}</code> <span style="{DIM}">{escape(place)}</span></div>'
        for name, place in trap.backtrace
    )


def trap_text(trap: Trap) -> str:
    """One stopped call, with where it was."""
    return "\n".join((repr(trap), *backtrace(trap)))


def trap_html(trap: Trap) -> str:
    """One stopped call as a small table."""
    rows = [
        ["time", cell(trap.time)],
        ["code", cell(trap.label, 80)],
        ["call", cell(trap.function, 80)],
        ["stopped because", f'<span style="color:{BAD}">{cell(trap.reason, 160)}</span>'],
        ["in", backtrace_html(trap)],
        ["input", f"{len(trap.input)} characters"],
        ["the host answered", f"{len(trap.asked)} questions"],
    ]
    return table([], rows)


# --- what asks the host, on its loop --------------------------------------------------------------


async def traps(host: Host, component: str | None = None) -> TrapList:
    """The last calls of a component in WebAssembly that were stopped, the newest last.

    Or those of all components. They are in memory, with the code that is loaded; `host.replay`
    makes one of them again.
    """
    return TrapList(await host.traps(component))
