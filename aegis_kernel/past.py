"""What a cell shows of the past: what led to what, and how a record was at a point of the journal.

Values of the runtime with looks. They are as they are: unlike the views of views.py nothing in them
is live, so every frontend shows the same.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aegis.core.guest import Trap, TrapReplay
from aegis.core.past import Past, PastFlow
from aegis.core.replay import Pair, Replay, told
from aegis.core.rule import masked
from aegis.core.why import Line, Why, branches
from aegis_kernel.flows import FlowView
from aegis_kernel.tables import BAD, DIM, GOOD, cell, table
from aegis_kernel.traps import backtrace, backtrace_html

if TYPE_CHECKING:
    from aegis.core.event import Event
    from aegis.engine.host import Host

ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")
SHOWN = 300  # lines of a table
HEAVY = 400_000  # a larger picture makes a notebook too large to open


class Still:
    """A view of what does not change any more: HTML without scripts, a picture, text."""

    @property
    def svg(self) -> str | None:
        """The picture, where the view has one."""
        return None

    def html(self) -> str:
        """It for the eye, without scripts, from nowhere else."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.html()}
        svg = self.svg
        if svg is not None and len(svg) < HEAVY:
            bundle["image/svg+xml"] = svg
        return bundle


class WhyView(Still):
    """What led to what, from the request to each change: a picture, and a table of the same.

    `data` is the value behind it; `str()` the tree as text, `svg` the picture.
    """

    def __init__(self, data: Why) -> None:
        self.data = data

    @property
    def svg(self) -> str:
        """The tree as a picture."""
        return self._svg

    @cached_property
    def _svg(self) -> str:
        from aegis.adapters.graph.tree import render

        return render(self.data)

    def html(self) -> str:
        """The tree as a table, and the picture below it."""
        rows = [_row(branch, line) for branch, line in branches(self.data.lines[:SHOWN])]
        said = [self.data.cut] if self.data.cut is not None else []
        more = max(len(self.data.lines) - SHOWN, 0) + self.data.left_out
        said += [f"and {more} more, as far as is known"] if more else []
        rest = "".join(f'<div style="{DIM}">{cell(text, 300)}</div>' for text in said)
        listed = table(["what", "by", "about", "carries", "error", "time"], rows)
        return f'<div style="overflow-x:auto">{listed}{rest}</div>' + (
            f'<div style="overflow-x:auto">{self.svg}</div>' if len(self.svg) < HEAVY else ""
        )

    def __str__(self) -> str:
        return str(self.data)

    def __repr__(self) -> str:
        return str(self.data)


def _row(branch: str, line: Line) -> list[str]:
    name = cell(f"{line.sign} {line.name}".strip(), 80)
    if line.went_wrong:
        name = f'<span style="color:{BAD}">{name}</span>'
    place = "" if line.seq is None else f' <span style="{DIM}">#{line.seq}</span>'
    tree = f'<span style="{DIM};white-space:pre;font-family:monospace">{branch}</span>'
    return [
        f'<span style="white-space:nowrap">{tree}{name}{place}</span>',
        cell(line.made, 80),
        _brief(line.about or ""),
        cell(line.carried),
        cell(line.error or "", 160),
        f'<span title="{cell(line.time)}">{cell(line.time[11:23])}</span>',
    ]


def _brief(text: str) -> str:
    """Text with only the ends of the host's ids, which begin with a time; on top it is whole."""
    said = cell(ID.sub(lambda id: f"\u2026{id[0][-8:]}", text), 80)
    return f'<span title="{cell(text)}">{said}</span>' if ID.search(text) else said


class PastView(Still):
    """A record and its flows as they were. `record` is the author's value, `data` all of it."""

    def __init__(self, data: Past) -> None:
        self.data = data

    @property
    def record(self) -> Any:
        """The record as it was, None when it was not there."""
        return self.data.record

    def html(self) -> str:
        """The record and its flows as tables."""
        past = self.data
        head = (
            f"<div><strong>{cell(past.model)}</strong> <code>{cell(past.id)}</code> "
            f'<span style="{DIM}">at event {past.seq}, {cell(past.time)}, '
            f"revision {past.revision}</span></div>"
        )
        if past.record is None:
            fields = f'<div style="{DIM}">it was not there</div>'
        else:
            values = masked(past.record)
            fields = table([], [[cell(name), cell(value, 200)] for name, value in values.items()])
        flows = "".join(map(_flow, past.flows))
        return f"<div>{head}{fields}{flows}</div>"

    def __str__(self) -> str:
        return str(self.data)

    def __repr__(self) -> str:
        return str(self.data)


def _flow(flow: PastFlow) -> str:
    rows = [
        [str(step.n), cell(step.port), cell(step.state), cell(step.error or "", 160)]
        for step in flow.steps
    ]
    head = f"<div>flow <code>{cell(flow.id)}</code> {cell(flow.state)}</div>"
    return head + table(["", "port", "state", "error"], rows)


class ReplayView(Still):
    """What a flow came to with recorded answers, beside then. `data` is the value behind it."""

    def __init__(self, data: Replay) -> None:
        self.data = data

    @property
    def same(self) -> bool:
        """Whether all came out as it did then."""
        return self.data.same

    def html(self) -> str:
        """The differences as tables: then and now, what differs is marked."""
        data = self.data
        verdict, colour = "the same", GOOD
        if not data.same:
            verdict, colour = ("stopped" if data.stopped else "different"), BAD
        head = (
            f'<div><strong>replay</strong> <span style="color:{colour}">{verdict}</span> '
            f"{cell(data.reason, 600)} "
            f'<span style="{DIM}">flow <code>{cell(data.flow)}</code> on '
            f"{cell(data.revision)}</span></div>"
        )
        notes = "".join(f'<div style="{DIM}">{cell(note, 300)}</div>' for note in data.notes)
        parts = (("steps", data.steps), ("events", data.events), ("state", data.state))
        tables = "".join(_pairs(title, pairs) for title, pairs in parts if pairs)
        return f'<div style="overflow-x:auto">{head}{notes}{tables}</div>'

    def __str__(self) -> str:
        return str(self.data)

    def __repr__(self) -> str:
        return str(self.data)


def _pairs(title: str, pairs: tuple[Pair, ...]) -> str:
    rows = []
    for pair in pairs:
        sign, style = ("=", DIM) if pair.same else ("\u2260", f"color:{BAD}")
        sides = [told(pair.then), told(pair.now)]
        rows.append(
            [
                f'<span style="{style}">{sign} {_brief(pair.name)}</span>',
                *(f'<span style="{style}">{cell(side, 160)}</span>' for side in sides),
            ]
        )
    return table([title, "then", "now"], rows)


class TrapReplayView(Still):
    """What came of a stopped call that was made again. `data` is the value behind it."""

    def __init__(self, data: TrapReplay) -> None:
        self.data = data

    @property
    def same(self) -> bool:
        """Whether it was stopped as it was then."""
        return self.data.same

    @property
    def answer(self) -> str | None:
        """What the guest gave, None when it gave nothing."""
        return self.data.answer

    def html(self) -> str:
        """The verdict, and where it was stopped."""
        data = self.data
        color = GOOD if data.answer is not None else BAD
        head = (
            f"<div><strong>{cell(data.trap.function, 80)}</strong> on {cell(data.label, 80)} "
            f'<span style="color:{color}">{cell(data.verdict, 600)}</span></div>'
        )
        return head if data.again is None else f"{head}{backtrace_html(data.again)}"

    def __repr__(self) -> str:
        again = self.data.again
        return "\n".join((repr(self.data), *(() if again is None else backtrace(again))))


# --- what asks the host, on its loop --------------------------------------------------------------


async def why(host: Host, of: Any, model: type[Any] | str | None = None) -> WhyView:
    """What led to what: the tree from the requests to each change, of `of`.

    `of` is an event, its id or number, a flow or its id, a line of the failed list or its id, a
    record, or the id of a record, with its `model` where others could be meant.
    """
    return WhyView(await host.why(_bare(of), model))


async def at(
    host: Host, seq: int | Event, record: Any, model: type[Any] | str | None = None
) -> PastView:
    """A record and its flows as of a point of the journal: an event, or its number."""
    return PastView(await host.at(seq, record, model))


async def replay(host: Host, of: Any, revision: str | None = None) -> ReplayView | TrapReplayView:
    """Run a flow again on a fork of the data, with recorded answers; the differences.

    `of` is a flow or its id, one of its events, its id or its number, a line of the failed list, or
    a record: then its newest flow. `revision` is a label, a version, or the text of a component:
    without it the live code runs. Nothing real is touched. Of `host.traps()` one stopped call is
    made again so, with the input and the answers of then.
    """
    if isinstance(of, Trap):
        return TrapReplayView(await host.replay(of, revision))
    return ReplayView(await host.replay(_bare(of), revision))


def _bare(of: Any) -> Any:
    """What a view of a flow shows, anything else as it is."""
    return of.flow if isinstance(of, FlowView) else of
