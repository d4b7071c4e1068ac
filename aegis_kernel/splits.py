"""A candidate beside what is live, as a cell shows it: whose share is what, and how each does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aegis.adapters.graph.figures import latency
from aegis.core.split import ArmStatus, SplitStatus
from aegis_kernel.tables import BAD, cell, table

COLUMNS = ("component", "version", "", "share", "calls", "errors", "p50", "p99")


class SplitView:
    """Splits as they were when the cell ran. `splits` has the figures."""

    def __init__(self, splits: Sequence[SplitStatus] | SplitStatus) -> None:
        self.splits = [splits] if isinstance(splits, SplitStatus) else list(splits)

    def __repr__(self) -> str:
        if not self.splits:
            return "no component is split"
        return "\n".join(" ".join(part for part in row if part) for row in self._rows())

    def _repr_html_(self) -> str:
        if not self.splits:
            return "<div>no component is split</div>"
        rows = []
        for *others, calls, errors, p50, p99 in self._rows(unit=False):
            failed = f'<span style="color:{BAD}">{errors}</span>' if errors != "0" else errors
            rows.append([*map(cell, others), cell(calls), failed, cell(p50), cell(p99)])
        return table(COLUMNS, rows)

    def _rows(self, *, unit: bool = True) -> Iterator[tuple[str, ...]]:
        for split in self.splits:
            by = "" if split.by == "record" else f"by {split.by}"
            for what, arm in (("live", split.live), ("candidate", split.candidate)):
                yield (split.component, arm.version, f"{what} {by}".strip(), *_figures(arm, unit))


def _figures(arm: ArmStatus, unit: bool) -> tuple[str, ...]:  # noqa: FBT001 -- of two forms
    calls, errors = f"{arm.calls:,}", f"{arm.errors:,}"
    times = ["" if time is None else latency(time) for time in (arm.p50, arm.p99)]
    if unit:
        named = zip(("p50", "p99"), times, strict=True)
        calls, errors = f"{calls} calls", f"{errors} errors"
        times = [f"{name} {time}" if time else "" for name, time in named]
    return (f"{arm.weight:g} %", calls, errors, *times)
