"""Draws what was called as a sequence diagram: an SVG of its own, or Mermaid's text.

Who takes part stands from left to right, time runs down. All events share one lifeline, the
journal; who consumes an event gets it from there. A call that nothing happened in takes one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, takewhile

from aegis.adapters.graph.figures import latency
from aegis.adapters.graph.pen import at, extent, num, path, short, xml
from aegis.adapters.graph.svg import THEME
from aegis.core.trace import CELL, HTTP, Message, Sequence

MOST = 300  # arrows of a picture; whoever needs more reads the calls
TIMES = 62.0  # the column of times, px
HEAD = 34.0
ROW = 24.0
NEAR, FAR = 96.0, 250.0  # between neighbouring lifelines
EVENTS = "events"


@dataclass
class Lifeline:
    """Someone who takes part."""

    id: str
    kind: str
    name: str
    x: float = 0.0
    gap: float = NEAR

    @property
    def width(self) -> float:
        """Of its head, px."""
        return min(max(extent(self.name, 12) + 18, extent(self.kind, 10) + 18, 54.0), FAR - 12)


@dataclass
class Arrow:
    """One arrow; `back` is what came back at once, drawn with it."""

    message: Message
    source: Lifeline
    target: Lifeline
    back: Message | None = None
    y: float = 0.0

    @property
    def label(self) -> str:
        """What stands on the arrow: who is called or what happened, and how long it took."""
        message = self.message
        if message.kind == "returns":
            return "" if message.took is None else latency(message.took * 1e3)
        # Whom an event sets off is seen; what else is called with it (an undo) has to be said.
        heard = message.kind == "consumes" and message.label == self.target.name
        name = message.source.partition(":")[2] if heard else message.label
        return name if self.took is None else f"{name} \u00b7 {latency(self.took * 1e3)}"

    @property
    def said(self) -> str:
        """The same as it is drawn, with the sign of what failed."""
        return f"\u2717 {self.label or self.message.label}" if self.error else self.label

    @property
    def took(self) -> float | None:
        """Seconds, where the end is told with the beginning."""
        return self.message.took if self.back is None else self.back.took

    @property
    def error(self) -> str | None:
        """What failed."""
        return self.message.error or (None if self.back is None else self.back.error)


@dataclass
class Scene:
    """What of a sequence is drawn: `more` counts the arrows that are not, and calls left out."""

    lifelines: list[Lifeline] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    more: int = 0


def scene(sequence: Sequence) -> Scene:
    """The arrows of a sequence, those that belong together joined, the first `MOST` of them."""
    lifelines: dict[str, Lifeline] = {}

    def lifeline(id: str) -> Lifeline:
        known = _lifeline(id)
        return lifelines.setdefault(known.id, known)

    arrows: list[Arrow] = []
    messages = sequence.messages
    n = 0
    while n < len(messages) and len(arrows) < MOST:
        message = messages[n]
        arrow = Arrow(message, lifeline(message.source), lifeline(message.target))
        following = messages[n + 1] if n + 1 < len(messages) else None
        if following is not None and _answers(following, message):
            arrow.back = following
            n += 1
        arrows.append(arrow)
        n += 1
    left = sum(message.kind != "returns" for message in messages[n:])
    return Scene(list(lifelines.values()), arrows, left + sequence.left_out)


def render(sequence: Sequence) -> str:
    """`sequence` as a complete SVG document, themed as the graph is; always the same text."""
    found = scene(sequence)
    if not found.arrows:
        return _document(420, 80, "Nothing was called", [EMPTY])
    bottom = _place(found)
    left, right = found.lifelines[0], found.lifelines[-1]
    overhang = max(
        (_loop(arrow) for arrow in found.arrows if arrow.target is right is arrow.source),
        default=0.0,
    )
    width = right.x + max(right.width / 2, overhang) + 14
    calls = sum(arrow.message.kind != "returns" for arrow in found.arrows) + found.more
    title = f"Sequence of {calls} call{'' if calls == 1 else 's'}, from {left.name}"
    body = [
        *(text for line in found.lifelines for text in _head(line, bottom)),
        *_bars(found.arrows, bottom),
        *(text for arrow in found.arrows for text in _arrow(arrow)),
    ]
    height = bottom + 14
    if found.more:
        words = f"and {found.more} more"
        body.append(f'<text class="more" x="{num(TIMES)}" y="{num(bottom + 18)}">{words}</text>')
        height += 16
    return _document(width, height, title, body)


def mermaid(sequence: Sequence) -> str:
    """`sequence` as Mermaid's `sequenceDiagram`, for Markdown and wikis."""
    found = scene(sequence)
    names = {line.id: f"p{number}" for number, line in enumerate(found.lifelines)}
    lines = ["sequenceDiagram"]
    lines += [f"    participant {names[who.id]} as {_plain(who.name)}" for who in found.lifelines]
    for arrow in found.arrows:
        source, target = names[arrow.source.id], names[arrow.target.id]
        message = arrow.message
        if message.kind == "returns":
            lines.append(f"    {_returned(source, target, message)}")
            continue
        open = message.kind in {"produces", "consumes"}
        way = "-x" if arrow.error and open else "-)" if open else "->>"
        lines.append(f"    {source}{way}{target}: {_plain(arrow.label)}")
        if arrow.back is not None:
            lines.append(f"    {_returned(target, source, arrow.back)}")
    if found.more:
        lines.append(f"    Note over {names[found.lifelines[0].id]}: and {found.more} more")
    return "\n".join(lines)


def _lifeline(id: str) -> Lifeline:
    kind, _, rest = id.partition(":")
    if kind == "event":
        return Lifeline(EVENTS, "journal", EVENTS)
    if id in {CELL, HTTP, ""} or not rest:
        return Lifeline(id, "caller", id or "outside")
    owner, _, name = rest.rpartition(".")
    return Lifeline(id, owner or kind, name)


def _answers(back: Message, message: Message) -> bool:
    return (
        back.kind == "returns"
        and message.kind != "returns"
        and (back.source, back.target) == (message.target, message.source)
        and (back.label, back.about) == (message.label, message.about)
    )


# --- places ---------------------------------------------------------------------------------------


def _place(found: Scene) -> float:
    """Give lifelines their x and arrows their y; where the last one ends."""
    lines = found.lifelines
    number = {line.id: n for n, line in enumerate(lines)}
    for line, right in pairwise(lines):
        line.gap = max(line.gap, (line.width + right.width) / 2 + 12)
    for arrow in found.arrows:
        one, other = sorted((number[arrow.source.id], number[arrow.target.id]))
        room = extent(arrow.said, 11) + 22
        if one == other:
            lines[one].gap = min(max(lines[one].gap, room + 26), FAR)
        elif other == one + 1:
            lines[one].gap = min(max(lines[one].gap, room), FAR)
    x = TIMES + lines[0].width / 2
    for line in lines:
        line.x = x
        x += line.gap
    y = HEAD + 26
    for arrow in found.arrows:
        arrow.y = y
        y += ROW
    return y


def _loop(arrow: Arrow) -> float:
    """How far an arrow of a lifeline to itself reaches."""
    return 34 + min(extent(arrow.said, 11), FAR)


# --- text -----------------------------------------------------------------------------------------


def _head(line: Lifeline, bottom: float) -> Iterator[str]:
    w = line.width
    title = f"{line.name}\n{line.id}" if line.id != line.name else line.name
    yield f'<g class="who" data-id="{xml(line.id)}"><title>{xml(title)}</title>'
    yield f'<path class="life" d="{path("M", line.x, HEAD + 4, "V", bottom)}"/>'
    yield f'<rect class="shape" {at(line.x - w / 2, 4, w, HEAD)} rx="4"/>'
    yield f'<text class="label" x="{num(line.x)}" y="18">{xml(short(line.name, w - 12))}</text>'
    yield (
        f'<text class="caption" x="{num(line.x)}" y="31">{xml(short(line.kind, w - 12, 10))}</text>'
        "</g>"
    )


def _bars(arrows: list[Arrow], bottom: float) -> Iterator[str]:
    """While something is called, its lifeline is thick."""
    begun: dict[tuple[str, str, str, str | None], list[Arrow]] = {}
    busy: dict[str, list[float]] = {}  # where the bars of a lifeline end

    def bar(line: Lifeline, y: float, end: float) -> str:
        ends = busy.setdefault(line.id, [])
        deep = sum(other > y for other in ends)
        ends.append(end)
        return f'<rect class="bar" {at(line.x - 3 + 3 * deep, y, 6, max(end - y, 5))} rx="1"/>'

    spans: dict[int, float] = {}
    for number, arrow in enumerate(arrows):
        message = arrow.message
        match message.kind:
            case "returns":
                key = (message.target, message.source, message.label, message.about)
                if begun.get(key):
                    spans[id(begun[key].pop())] = arrow.y
            case "call" if arrow.back is not None:
                spans[id(arrow)] = arrow.y + 7
            case "call":
                key = (message.source, message.target, message.label, message.about)
                begun.setdefault(key, []).append(arrow)
            case "consumes" if message.took is not None:
                spans[id(arrow)] = _until(message.at + message.took, arrows, number) + 7
            case "consumes" | "produces":
                pass  # under way until the end, or of no length
    for arrow in arrows:
        if arrow.message.kind in {"call", "consumes"}:
            yield bar(arrow.target, arrow.y, spans.get(id(arrow), bottom))


def _until(time: float, arrows: list[Arrow], number: int) -> float:
    """The y of the last of the arrows after `number` that is not after `time`."""
    later = takewhile(lambda other: other.message.at <= time, arrows[number:])
    return max(arrow.y for arrow in later)


def _arrow(arrow: Arrow) -> Iterator[str]:
    message, y = arrow.message, arrow.y
    classes = f"arrow {message.kind}{' failed' if arrow.error else ''}"
    said = f"{message.label}" + (f" of {message.about}" if message.about else "")
    said += f"\ntook {latency(arrow.took * 1e3)}" if arrow.took is not None else ""
    said += f"\n{arrow.error}" if arrow.error else ""
    yield f'<g class="{classes}"><title>{xml(said)}</title>'
    if message.kind != "returns":
        time = f"{message.at * 1e3:.1f} ms" if message.at < 1 else f"{message.at:.3f} s"
        yield f'<text class="time" x="{num(TIMES - 18)}" y="{num(y + 3)}">{time}</text>'
    label = arrow.said
    x0, x1 = arrow.source.x, arrow.target.x
    if arrow.source is arrow.target:
        d = path("M", x0 + 3, y, "h22v7h", -18)
        yield f'<path class="line" d="{d}"/>{_tip(x0 + 3, y + 7, -1)}'
        words = short(label, FAR, 11)
        place = f'x="{num(x0 + 30)}" y="{num(y + 5)}"'
        yield f'<text class="said start" {place}>{xml(words)}</text></g>'
        return
    way = 1 if x1 > x0 else -1
    yield f'<path class="line" d="{path("M", x0 + 3 * way, y, "H", x1 - 8 * way)}"/>'
    yield _tip(x1 - 3 * way, y, way)
    if arrow.back is not None:
        d = path("M", x1 - 3 * way, y + 7, "H", x0 + 8 * way)
        yield f'<path class="line back" d="{d}"/>{_tip(x0 + 3 * way, y + 7, -way)}'
    if label:
        words = short(label, abs(x1 - x0) - 14, 11)
        middle = num((x0 + x1) / 2)
        yield f'<text class="said" x="{middle}" y="{num(y - 4)}">{xml(words)}</text>'
    yield "</g>"


def _tip(x: float, y: float, way: int) -> str:
    d = path("M", x, y, "l", -6 * way, -3.5, "v7z")
    return f'<path class="tip" d="{d}"/>'


def _document(width: float, height: float, title: str, body: Iterable[str]) -> str:
    w, h = round(width), round(height)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="aegis-graph aegis-sequence" role="img"'
        f' aria-label="{xml(title)}" viewBox="0 0 {w} {h}" width="{w}" height="{h}"'
        f' style="min-width:{round(w * 0.6)}px">'
        f"<title>{xml(title)}</title><style>{THEME}{STYLE}</style>"
        f'<rect class="ground" width="{w}" height="{h}" rx="6"/>{"".join(body)}</svg>'
    )


def _plain(text: str) -> str:
    """`text` as Mermaid takes it in a label: what has a meaning there as its number."""
    line = " ".join(text.split())
    line = "".join(
        c if c.isalnum() or c in " .,_-:/()" or ord(c) > 127 else f"#{ord(c)};" for c in line
    )
    # The word ends a block wherever it stands alone.
    return "#101;nd" if line.lower() == "end" else line or "#32;"


def _returned(source: str, target: str, message: Message) -> str:
    took = "" if message.took is None else latency(message.took * 1e3)
    if message.error:
        return f"{source}--x{target}: {_plain(message.error)}"
    return f"{source}-->>{target}: {took or 'done'}"


EMPTY = (
    '<text class="label" x="210" y="36" text-anchor="middle">Nothing was called</text>'
    '<text class="caption" x="210" y="58" text-anchor="middle">'
    "Call the host inside the block: with host.trace(): ...</text>"
)

STYLE = """
.aegis-sequence .who .shape{stroke:var(--dim)}
.aegis-sequence .who .label,.aegis-sequence .who .caption,.aegis-sequence .said{text-anchor:middle}
.aegis-sequence .who .label{font-weight:600}
.aegis-sequence .life{stroke:var(--dim);stroke-opacity:.5;stroke-dasharray:3 3}
.aegis-sequence .bar{fill:var(--paper);stroke:var(--wire)}
.aegis-sequence .returns .said{fill:var(--dim);font-size:10px}
.aegis-sequence .said{font-size:11px;paint-order:stroke;stroke:var(--ground);stroke-width:3px}
.aegis-sequence .said.start{text-anchor:start}
.aegis-sequence .time,.aegis-sequence .more{font-size:10px;fill:var(--dim)}
.aegis-sequence .time{text-anchor:end;font-variant-numeric:tabular-nums}
.aegis-sequence .returns .line,.aegis-sequence .back{stroke-dasharray:3 2}
.aegis-sequence .consumes .line:not(.back),.aegis-sequence .produces .line{stroke-dasharray:none}
.aegis-sequence .failed .line{stroke:var(--bad)}.aegis-sequence .failed .tip,
.aegis-sequence .failed .said{fill:var(--bad)}
""".replace("\n", "")
