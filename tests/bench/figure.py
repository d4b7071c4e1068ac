"""What was measured, beside what it has to reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value. `least` or `most` is its target; with neither it is there to be read."""

    name: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.least is not None:
            return self.value >= self.least
        return None if self.most is None else self.value < self.most

    @property
    def target(self) -> str:
        if self.least is not None:
            return f">= {_said(self.least)}"
        return "" if self.most is None else f"< {_said(self.most)}"

    def row(self) -> tuple[str, ...]:
        measured = f"{_said(self.value)} {self.unit}".rstrip()
        met = {True: "met", False: "MISSED", None: ""}[self.met]
        return (self.name, measured, self.target, met, self.note)


def table(title: str, figures: list[Figure]) -> str:
    rows = [("", "measured", "target", "", ""), *(figure.row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(
            text.rjust(width) if column in {1, 2} else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([f"## {title}", *lines])


def _said(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
