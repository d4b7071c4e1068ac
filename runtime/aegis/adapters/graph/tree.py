"""Draws what led to what: a tree from the request down, laid out by graphlay, themed as the graph.

Events are round, steps that made none have corners; who made an event stands in its second line.
"""

from __future__ import annotations

from collections.abc import Iterator

import graphlay

from aegis.adapters.graph.pen import at, extent, num, path, short, xml
from aegis.adapters.graph.svg import THEME
from aegis.core.why import Line, Why

MOST = 300  # lines of a picture; whoever needs more reads the text
HEIGHT = 42.0
NARROW, WIDE = 110.0, 260.0
MARGIN = 12.0


def render(why: Why) -> str:
    """The tree as a complete SVG document; always the same text. Some 0.3 ms a line."""
    lines = why.lines[:MOST]
    if not lines:
        return _document(420, 60, "Nothing is known of it", "")
    graph = graphlay.Graph()
    for number, line in enumerate(lines):
        graph.node(str(number), label="", width=_width(line), height=HEIGHT)
    parents = list(_parents(lines))
    for number, parent in enumerate(parents):
        if parent is not None:
            graph.edge(str(parent), str(number))
    options = {
        "direction": "topbottom",
        "spacing": {"layer_gap": 26.0, "node_gap": 16.0, "isolated_gap": 16.0},
    }
    laid = graphlay.layout(graph, options=options)
    places = [(node["center"]["x"], node["center"]["y"]) for node in laid.nodes]
    left = min(x - _width(line) / 2 for (x, _), line in zip(places, lines, strict=True))
    top = min(y for _, y in places) - HEIGHT / 2
    dx, dy = MARGIN - left, MARGIN - top
    body = []
    for route in laid.edges:
        points = [(point["x"] + dx, point["y"] + dy) for point in route["points"]]
        body.append(_wire(points))
    for (x, y), line in zip(places, lines, strict=True):
        body.append(_box(line, x + dx - _width(line) / 2, y + dy - HEIGHT / 2))
    right = max(x + _width(line) / 2 for (x, _), line in zip(places, lines, strict=True))
    width, height = right + dx + MARGIN, max(y for _, y in places) + dy + HEIGHT / 2 + MARGIN
    rest = _rest(why)
    if rest:
        body.append(
            f'<text class="more" x="{num(MARGIN)}" y="{num(height + 6)}">{xml(rest)}</text>'
        )
        height += 16
    events = sum(line.kind == "event" for line in why.lines)
    title = f"{events} event{'' if events == 1 else 's'} from {lines[0].name}"
    return _document(max(width, extent(rest, 10) + 2 * MARGIN), height, title, "".join(body))


def _rest(why: Why) -> str:
    """What the picture does not show."""
    said = [why.cut] if why.cut is not None else []
    more = len(why.lines) - MOST
    if more > 0 or why.left_out:
        said.append(f"and {max(more, 0) + why.left_out} more, as far as is known")
    return "; ".join(said)


def _parents(lines: tuple[Line, ...]) -> Iterator[int | None]:
    above: list[int] = []
    for number, line in enumerate(lines):
        del above[line.depth :]
        yield above[-1] if above else None
        above.append(number)


def _label(line: Line) -> str:
    return f"{line.sign} {line.name}" if line.sign else line.name


def _width(line: Line) -> float:
    wanted = max(extent(_label(line), 12), extent(line.made, 10)) + 26
    return min(max(wanted, NARROW), WIDE)


def _box(line: Line, x: float, y: float) -> str:
    w = _width(line)
    said = [_label(line), line.made, f"about {line.about}" if line.about else "", line.time]
    said += [f"#{line.seq}" if line.seq is not None else "", line.error or ""]
    said += [f"{name}: {value}" for name, value in (line.changed or {}).items()]
    title = "\n".join(text for text in said if text)
    bad = " failed" if line.went_wrong else ""
    id = f' data-id="{xml(line.id)}"' if line.id is not None else ""
    middle = num(x + w / 2)
    rx = HEIGHT / 2 if line.kind == "event" else 4
    return (
        f'<g class="fact {line.kind}{bad}"{id}><title>{xml(title[:2000])}</title>'
        f'<rect class="shape" {at(x, y, w, HEIGHT)} rx="{num(rx)}"/>'
        f'<text class="label" x="{middle}" y="{num(y + 18)}">'
        f"{xml(short(_label(line), w - 22, 12))}</text>"
        f'<text class="caption" x="{middle}" y="{num(y + 32)}">'
        f"{xml(short(line.made, w - 22, 10))}</text></g>"
    )


def _wire(points: list[tuple[float, float]]) -> str:
    *before, (x, y) = points
    parts: list[str | float] = ["M", *before[0]]
    for point in before[1:]:
        parts += ["L", *point]
    line = path(*parts, "L", x, y - 5)
    tip = path("M", x, y, "l", -3.5, -6, "h7z")
    return f'<path class="line" d="{line}"/><path class="tip" d="{tip}"/>'


def _document(width: float, height: float, title: str, body: str) -> str:
    w, h = round(width), round(height)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="aegis-graph aegis-tree" role="img"'
        f' aria-label="{xml(title)}" viewBox="0 0 {w} {h}" width="{w}" height="{h}"'
        f' style="min-width:{round(w * 0.6)}px">'
        f"<title>{xml(title)}</title><style>{THEME}{STYLE}</style>"
        f'<rect class="ground" width="{w}" height="{h}" rx="6"/>{body}</svg>'
    )


STYLE = """
.aegis-tree text{text-anchor:middle}.aegis-tree .more{text-anchor:start;font-size:10px;
fill:var(--dim)}
.aegis-tree .event .shape{stroke:var(--wire)}.aegis-tree .step .shape,
.aegis-tree .listener .shape{stroke-dasharray:4 2}
.aegis-tree .failed .shape{stroke:var(--bad);stroke-width:2}
.aegis-tree .failed .label{fill:var(--bad)}
.aegis-tree .label{font-weight:600}
""".replace("\n", "")
