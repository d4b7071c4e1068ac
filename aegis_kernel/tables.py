"""Tables of HTML that data cannot break out of, in JupyterLab's colours with fallbacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from aegis.adapters.graph.figures import latency

ROWS = 50  # of a table; more do not help a reader and make the notebook heavy
CHARACTERS = 60  # of a value in a table; the tooltip has more
TOOLTIP = 600

BORDER = "1px solid var(--jp-border-color2,#d5dae0)"
DIM = "color:var(--jp-content-font-color2,#66727f)"
INK = "color:var(--jp-content-font-color1,inherit);font-size:inherit"
TABLE = f"border-collapse:collapse;border:{BORDER};margin:4px 0;{INK}"
CELL = f"text-align:left;vertical-align:top;padding:3px 10px;border-bottom:{BORDER}"
BAD = "var(--jp-error-color1,#c62828)"
GOOD = "var(--jp-success-color1,#2e7d32)"
BUSY = "var(--jp-brand-color1,#1976d2)"
QUIET = "var(--jp-content-font-color2,#66727f)"


def short(text: str, most: int = CHARACTERS) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def cell(value: object, most: int = CHARACTERS) -> str:
    """A value as escaped text; when it is cut, a tooltip has more of it."""
    if value is None:
        return f'<span style="{DIM}">None</span>'
    text = str(value)
    if len(text) <= most:
        return escape(text)
    return f'<span title="{escape(short(text, TOOLTIP))}">{escape(short(text, most))}</span>'


def codes(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{cell(name)}</code>" for name in names) or "nothing"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; `columns` are text, the cells of `rows` are HTML made by this module."""
    head = "".join(f'<th style="{CELL}">{escape(name)}</th>' for name in columns)
    lines = ("".join(f'<td style="{CELL}">{cell}</td>' for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<table style="{TABLE}">{top}<tbody>{body}</tbody></table>'


def moment(time: str, said: str) -> str:
    """A time as HTML, told as `said`; its tooltip is the whole of it."""
    return f'<span title="{escape(time)}">{escape(said)}</span>'


def _seconds(time: str, other: str) -> float | None:
    try:
        return (datetime.fromisoformat(time) - datetime.fromisoformat(other)).total_seconds()
    except (ValueError, TypeError):
        return None


def after(time: str, begin: str) -> str:
    """How long after `begin`, or the time itself when it is none."""
    seconds = _seconds(time, begin)
    return time if seconds is None else f"+{latency(seconds * 1e3)}"
