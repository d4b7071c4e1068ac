"""What a deploy would make different, and what its gate says, as cells show them: words first."""

from __future__ import annotations

import functools
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from itertools import starmap
from typing import TYPE_CHECKING, Any

from aegis.core.difference import Difference
from aegis.core.errors import GateError
from aegis.core.rehearsal import Divergence, Gate, Rehearsal
from aegis.core.replay import told
from aegis.engine.host import Host
from aegis_kernel.past import HEAVY, Still
from aegis_kernel.tables import BAD, DIM, GOOD, cell, table

if TYPE_CHECKING:
    from aegis.core.moving import Progress

# Of the lines of a plan by their sign.
COLORS = {
    "x": BAD,
    "!": BAD,
    "+": GOOD,
    "-": BAD,
    "~": "var(--jp-warn-color1,#b26a00)",
    "=": "var(--jp-content-font-color2,#66727f)",
}
SLOW = 0.5  # seconds before a bar is drawn
MONO = "white-space:pre-wrap;font-family:var(--jp-code-font-family,monospace)"


class PlanView(Still):
    """What a deploy would make different: breaking changes in words, all of it, a picture.

    `data` is the value behind it; `str()` the words, `svg` the picture.
    """

    def __init__(self, data: Difference) -> None:
        self.data = data

    @property
    def svg(self) -> str | None:
        """Both graphs in one: what comes, goes and changes; None where nothing does."""
        return self._svg

    @cached_property
    def _svg(self) -> str | None:
        from aegis.adapters.graph.svg import render

        return render(self.data.graph, marks=self.data.marks) if self.data.marks else None

    def html(self) -> str:
        """The words, and the picture below them."""
        lines = "".join(starmap(_line, self.data.lines()))
        svg = self.svg
        drawn = svg if svg is not None and len(svg) < HEAVY else ""
        return f'<div style="overflow-x:auto">{lines}{drawn}</div>'

    def __str__(self) -> str:
        return str(self.data)

    def __repr__(self) -> str:
        return str(self.data)


class RehearsalView(Still):
    """How recorded flows and requests fare on a candidate. `data` is the value behind it."""

    def __init__(self, data: Rehearsal) -> None:
        self.data = data

    def html(self) -> str:
        """The figures, and a table of what does not come to the same."""
        found = self.data
        color = GOOD if found.passes else BAD
        names = cell(", ".join(found.components))
        head = f'<div><strong>{names}</strong> <span style="color:{color}">'
        parts = [f"{head}{cell(found.figures(), 200)}</span></div>"]
        rows = [_diverging(one) for one in found.diverging]
        if rows:
            parts.append(table(["", "what", "id", "error", "then", "now"], rows))
        more = found.differ + found.raises - len(found.diverging)
        notes = [*([f"and {more} more"] if more > 0 else []), *found.notes]
        parts += [f'<div style="{DIM}">{cell(note, 200)}</div>' for note in notes]
        return f'<div style="overflow-x:auto">{"".join(parts)}</div>'

    def __str__(self) -> str:
        return str(self.data)

    def __repr__(self) -> str:
        return str(self.data)


def _line(sign: str, text: str) -> str:
    color = COLORS.get(sign, "inherit")
    return f'<div style="color:{color};{MONO}">{cell(f"{sign or chr(32)} {text}", 400)}</div>'


def _diverging(one: Divergence) -> list[str]:
    sides = [
        "<br>".join(f"{cell(pair.name, 80)}: {cell(told(side), 120)}" for pair, side in pairs)
        for pairs in (
            [(pair, pair.then) for pair in one.differences],
            [(pair, pair.now) for pair in one.differences],
        )
    ]
    bad = f'<span style="color:{BAD}">{cell(one.verdict)}</span>'
    error = "" if one.error is None else cell(one.error, 120)
    return [bad, cell(f"{one.kind} {one.name}", 80), cell(one.id), error, *sides]


def gate_of(words: list[str]) -> tuple[Gate | None, list[str]]:
    """The gate that words say, `--gate`, `--gate 200` or `--gate=200`, and the words without it.

    Raises ValueError for what is no number.
    """
    rest = list[str]()
    gate: Gate | None = None
    waiting = iter(words)
    for word in waiting:
        if word != "--gate" and not word.startswith("--gate="):
            rest.append(word)
            continue
        said = word.removeprefix("--gate").removeprefix("=")
        if not said:
            said = next(waiting, "")
            if said and not said.isdecimal():
                rest.append(said)
                said = ""
        gate = Gate(last=int(said)) if said else Gate()
    return gate, rest


@contextmanager
def bar(progress: Progress | None) -> Generator[Progress]:
    """A bar in the output of the cell that asked, where it takes time; what is told how far."""
    if progress is not None:
        yield progress
        return
    from tqdm import tqdm

    with tqdm(desc="gate", file=sys.stderr, leave=False, delay=SLOW) as drawn:

        def show(done: int, of: int) -> None:
            drawn.total = of
            drawn.update(done - drawn.n)

        yield show


@functools.wraps(Host.deploy)
async def deploy(host: Host, *args: Any, **kwargs: Any) -> Any:
    """As Host.deploy; a gate shows how far it is."""
    if kwargs.get("gate") is None:
        return await host.deploy(*args, **kwargs)
    with bar(kwargs.pop("told", None)) as progress:
        return await host.deploy(*args, **kwargs, told=progress)


@functools.wraps(Host.rehearse)
async def rehearse(host: Host, *args: Any, **kwargs: Any) -> RehearsalView:
    """As Host.rehearse; it shows how far it is."""
    with bar(kwargs.pop("told", None)) as progress:
        return RehearsalView(await host.rehearse(*args, **kwargs, told=progress))


def refused(error: GateError) -> RehearsalView:
    """What a gate found that refused a deploy."""
    return RehearsalView(error.rehearsal)
