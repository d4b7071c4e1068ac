"""Draws a graph as one SVG: left to right, a frame for each component, themable by CSS.

Every node is an element whose id is the node's id (see `element_id`), every edge likewise, with
`data-` attributes beside, so that a live picture is patched and not drawn again: `data-at` is where
its figures go ("x y", see `FIGURE`), `data-live` marks a title whose last line tells them. A `has`
edge is the caption of a port that an event sets off, an `undo` edge to a model is a mark on the
step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from urllib.parse import quote

from aegis.adapters.graph import figures as live
from aegis.adapters.graph.layout import HANGING, Box, Frame, Line, Plan
from aegis.adapters.graph.pen import at, extent, num, path, short, xml
from aegis.core.graph import Edge, Graph
from aegis.core.wire import Figure

# The element with the figures of a node or an edge: x, y, text.
FIGURE = '<text class="figure" x="{}" y="{}">{}</text>'
LEAST = 0.6
LEGEND = ("model", "port", "command", "event", "listener", "adapter", "service", "store")


def element_id(id: str) -> str:
    """The id of a node's or an edge's element: the id itself, what CSS and XML forbid as %XX."""
    return quote(id, safe=":.>/@-_", errors="replace")


# What is said of code that does not run in the host itself: in a title, and on its frame.
LANGUAGES = {"wasm": ("WebAssembly", "wasm")}

# What says of a node that it comes, goes or is another, where colours do not.
SIGNS = {"added": "+", "changed": "~", "removed": "\u2212"}
NOTHING: Mapping[str, str] = {}


def render(
    graph: Graph,
    figures: Mapping[str, Figure] | None = None,
    marks: Mapping[str, str] = NOTHING,
) -> str:
    """`graph` as a complete SVG document without XML declaration, fit to be put into HTML.

    The same graph gives the same text. Sizes are px at scale 1; the picture shrinks with its
    place. Takes about 0.2 ms a node, so call it off the host's loop; the last few are kept. With
    `figures`, by node or edge id, the picture shows them as they are at this moment. `marks` say of
    nodes and edges that they are "added", "changed" or "removed" (see core.difference).
    """
    if not figures and not marks:
        return _plain(graph)
    return _Drawing(_plan(graph), figures or {}, marks).svg()


@lru_cache(maxsize=8)
def _plan(graph: Graph) -> Plan:
    return Plan(graph)


@lru_cache(maxsize=8)
def _plain(graph: Graph) -> str:
    return _Drawing(_plan(graph), {}).svg()


class _Drawing:
    """The text of one picture."""

    def __init__(
        self, plan: Plan, figures: Mapping[str, Figure], marks: Mapping[str, str] = NOTHING
    ) -> None:
        self.marks = marks
        self.graph = plan.graph
        self.plan = plan
        self.nodes = plan.nodes
        self.figures = figures
        self.languages = {
            node.component: node.language for node in plan.graph.nodes if node.language in LANGUAGES
        }

    def svg(self) -> str:
        """The whole document."""
        margin = 10.0
        if not self.nodes:
            return _document(420, 120, "An empty graph", [EMPTY])
        width, height = self.plan.size
        used = {node.kind for node in self.graph.nodes}
        legend, end = _legend(
            [kind for kind in LEGEND if kind in used],
            margin,
            height + 2 * margin + 6,
            [mark for mark in SIGNS if mark in self.marks.values()],
        )
        body = [
            f'<g transform="translate({num(margin)} {num(margin)})">',
            *(text for frame in self.plan.frames for text in self._frame_text(frame)),
            "</g>",
            legend,
        ]
        kinds = [n.kind for n in self.graph.nodes]
        counts = ", ".join(
            f"{kinds.count(kind)} {kind}{'' if kinds.count(kind) == 1 else 's'}"
            for kind in LEGEND
            if kind in used
        )
        names = ", ".join(sorted(self.plan.hues))
        title = f"Graph of {names}: {counts}" if names else f"Graph: {counts}"
        return _document(
            max(width + 2 * margin, end), height + 2 * margin + 30, title, body, self.graph.digest
        )

    def _frame_text(self, frame: Frame) -> Iterator[str]:
        hue = f"h{frame.hue}" if frame.name else "h-none"
        yield f'<g class="component {hue}" data-component="{xml(frame.name)}">'
        x, y, w, h = (num(v) for v in (frame.x, frame.y, frame.width, frame.height))
        yield f'<rect class="frame" x="{x}" y="{y}" width="{w}" height="{h}" rx="9"/>'
        yield (
            f'<rect class="stripe" x="{x}" y="{num(frame.y + 8)}" width="4"'
            f' height="{num(frame.height - 16)}" rx="2"/>'
        )
        name = frame.name or "no component"
        told = LANGUAGES.get(self.languages.get(frame.name, ""))
        room = frame.width - (30 if told is None else 72)
        title = name if told is None else f"{name}, in {told[0]}"
        yield (
            f'<text class="name" x="{num(frame.x + 16)}" y="{num(frame.y + 20)}">'
            f"{xml(short(name, room, 13))}<title>{xml(title)}</title></text>"
        )
        if told is not None:
            yield (
                f'<text class="caption language" x="{num(frame.x + frame.width - 12)}"'
                f' y="{num(frame.y + 20)}" text-anchor="end">{told[1]}</text>'
            )
        for row in frame.rows:
            for line in row.lines:
                yield self._line(line)
            for box in row.boxes.values():
                yield from self._box_text(box)
        yield "</g>"

    def _live(
        self, id: str, kind: str, where: tuple[float, float] | None
    ) -> tuple[str, str, str, str]:
        """Its place for figures; what they add to its classes, its title and its content."""
        x, y = ("", "") if where is None else (num(where[0]), num(where[1]))
        place = f' data-at="{x} {y}"' if where else ""
        figure = self.figures.get(id)
        if figure is None:
            return place, "", "", ""
        words = live.explained(figure)
        said = live.told(figure, kind)
        drawn = FIGURE.format(x, y, xml(said)) if where and said else ""
        if words:
            place += ' data-live=""'
            words = f"\n{xml(words)}"
        return place, live.state(figure), words, drawn

    def _mark(self, id: str) -> str:
        """What a mark adds to the classes of an element."""
        return f" {self.marks[id]}" if id in self.marks else ""

    def _marked(self, id: str) -> str:
        """What it adds to its title."""
        return f" ({self.marks[id]})" if id in self.marks else ""

    def _edge(
        self,
        edge: Edge,
        content: str,
        extra: str = "",
        figures: tuple[float, float] | None = None,
        *,
        echo: bool = False,
    ) -> str:
        source, target = self.nodes[edge.source].label, self.nodes[edge.target].label
        said = {
            "consumes": f"{target} consumes {source}",
            "undo": f"the undo of {source} is done with {target}",
        }.get(edge.kind, f"{source} {edge.kind} {target}")
        # What is drawn in a second frame too has its id in one of them only.
        id = "" if echo else f' id="{xml(element_id(edge.id))}"'
        place, state, more, drawn = self._live(edge.id, edge.kind, None if echo else figures)
        return (
            f'<g{id} class="edge {xml(edge.kind)}{extra}{state}{self._mark(edge.id)}"'
            f' data-kind="{xml(edge.kind)}"'
            f' data-source="{xml(edge.source)}" data-target="{xml(edge.target)}"{place}>'
            f"<title>{xml(said)}{self._marked(edge.id)}{more}</title>{content}{drawn}</g>"
        )

    def _line(self, line: Line) -> str:
        (ax, ay), (bx, by) = line.points[-2:]
        length = max(((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5, 1e-9)
        ux, uy = (bx - ax) / length, (by - ay) / length
        cx, cy = bx - 7 * ux, by - 7 * uy
        left, right = (cx - 3.5 * uy, cy + 3.5 * ux), (cx + 3.5 * uy, cy - 3.5 * ux)
        way = _rounded([*line.points[:-1], (bx - 5 * ux, by - 5 * uy)])
        tip = path("M", bx, by, "L", *left, "L", *right, "z")
        content = f'<path class="line" d="{way}"/><path class="tip" d="{tip}"/>'
        return self._edge(line.edge, content, figures=_beside(line.points), echo=line.echo)

    def _box_text(self, box: Box) -> Iterator[str]:
        for below, edges in box.hanging:
            for count, edge in enumerate(edges):
                dx = 7.0 if count == 0 else 3.0
                x, y = box.x + dx, below.y + below.height / 2 + (0 if count == 0 else 4)
                d = f"M{num(x)} {num(box.y + box.height)}V{num(y)}H{num(below.x)}"
                lower = 1.0 if len(edges) == 1 else (-2.0, 6.0)[min(count, 1)]
                place = (below.x + below.width + 5, y + lower)
                yield self._edge(edge, f'<path class="line" d="{d}"/>', " hang", place)
        if box.reference:
            yield self._reference(box)
        else:
            yield self._node(box)
        for below, _ in box.hanging:
            yield from self._box_text(below)

    def _reference(self, box: Box) -> str:
        node = box.node
        home = self.plan.homes[node.id]
        hue = f" h{self.plan.hues[home]}" if home in self.plan.hues else ""
        x, y, w, h = box.x, box.y, box.width, box.height
        rx = h / 2 if node.kind == "event" else 4
        hook = path("M", x + 9, y + h - 6, "v-5a3 3 0 0 1 3 -3h5m-3 -3l3 3l-3 3")
        said = f"{node.label}, drawn in {home}" if home else node.label
        return (
            f'<g class="reference {xml(node.kind)}{hue}" data-ref="{xml(node.id)}"'
            f' data-kind="{xml(node.kind)}"><title>{xml(said)}</title>'
            f'<rect class="shape" {at(x, y, w, h)} rx="{num(rx)}"/>'
            f'<path class="hook" d="{hook}"/><text x="{num(x + 22)}" y="{num(y + h / 2 + 4)}">'
            f"{xml(short(node.label, w - 28, 11))}</text></g>"
        )

    def _node(self, box: Box) -> str:
        node = box.node
        x, y, w, h = box.x, box.y, box.width, box.height
        told = f" ({LANGUAGES[node.language][0]})" if node.language in LANGUAGES else ""
        title = f"{node.kind} {node.label}{told}" + (f"\n{node.detail}" if node.detail else "")
        marks, owners = self.plan.marks(node), self.plan.owners(node)
        tall = node.kind in {"model", "port"}
        size = 11.0 if node.kind in {"event", *HANGING} else 12.0
        parts = [_shape(node.kind, x, y, w, h)]
        if node.kind in {"event", "store"}:
            middle = y + h / 2 + (4 if node.kind == "event" else 8)
            parts.append(_label(short(node.label, w - 20, size), x + w / 2, middle, "middle"))
        else:
            label = short(node.label, w - 34 - (16 if marks else 0), size)
            parts.append(_label(label, x + 23, y + 18 if tall else y + h / 2 + 4))
        if node.kind in ICONS:
            parts.append(_icon(node.kind, x + 8, y + 8 if tall else y + h / 2 - 5))
        caption = ""
        if tall:
            left = 10 if node.kind == "model" else 23
            words = xml(short(self.plan.caption(node), w - 6 - left, 10))
            caption = (
                f'<text class="caption" x="{num(x + left)}" y="{num(y + h - 9)}">{words}</text>'
            )
        for edge in owners:
            parts.append(self._edge(edge, caption))
            caption = ""
        parts.append(caption)
        parts += [self._edge(edge, _mark(x + w - 19, y + 9)) for edge in marks]
        # What is asked has its figures at the edges of those who ask.
        figures = None if node.kind in HANGING else (x + w - 1, y - 3)
        place, state, more, drawn = self._live(node.id, node.kind, figures)
        if node.id in self.marks:
            sign = SIGNS[self.marks[node.id]]
            drawn += f'<text class="sign" x="{num(x + 1)}" y="{num(y - 3)}">{sign}</text>'
        language = f' data-language="{node.language}"' if told else ""
        return (
            f'<g id="{xml(element_id(node.id))}"'
            f' class="node {xml(node.kind)}{state}{self._mark(node.id)}"'
            f' data-id="{xml(node.id)}" data-kind="{xml(node.kind)}"'
            f' data-component="{xml(node.component)}"{language}{place}><title>{xml(title)}'
            f"{self._marked(node.id)}{more}</title>{''.join(parts)}{drawn}</g>"
        )


def _beside(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Above the middle of the longest level piece of a line."""
    pieces = list(pairwise(points))
    level = [piece for piece in pieces if abs(piece[0][1] - piece[1][1]) < 1] or pieces
    (ax, ay), (bx, by) = max(level, key=lambda piece: abs(piece[1][0] - piece[0][0]))
    return (ax + bx) / 2, (ay + by) / 2 - 3


def _rounded(points: list[tuple[float, float]], radius: float = 5.0) -> str:
    """A path through `points` with rounded corners."""
    d = [f"M{num(points[0][0])} {num(points[0][1])}"]
    for (ax, ay), (bx, by), (cx, cy) in zip(points, points[1:], points[2:], strict=False):
        before = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5
        after = ((cx - bx) ** 2 + (cy - by) ** 2) ** 0.5
        r = min(radius, before / 2, after / 2)
        if r < 0.5:
            d.append(f"L{num(bx)} {num(by)}")
            continue
        start = (bx - (bx - ax) * r / before, by - (by - ay) * r / before)
        end = (bx + (cx - bx) * r / after, by + (cy - by) * r / after)
        d.append(path("L", *start, "Q", bx, by, *end))
    d.append(f"L{num(points[-1][0])} {num(points[-1][1])}")
    return "".join(d)


def _label(text: str, x: float, y: float, anchor: str = "start") -> str:
    at = f'x="{num(x)}" y="{num(y)}" text-anchor="{anchor}"'
    return f'<text class="label" {at}>{xml(text)}</text>'


def _shape(kind: str, x: float, y: float, w: float, h: float) -> str:
    """The outline of a node: its kind shows without colour."""
    inner = ""
    if kind == "command":
        d = path("M", x + 3, y, "h", w - 13, "l", 10, h / 2, "l", -10, h / 2, "h", 13 - w)
        d += path("a3 3 0 0 1 -3 -3v", 6 - h, "a3 3 0 0 1 3 -3z")
    elif kind == "store":
        ry = 5.0 if h > 20 else 3.0
        d = path("M", x, y + ry, "a", w / 2, ry, "0 0 1", w, 0, "v", h - 2 * ry)
        d += path("a", w / 2, ry, "0 0 1", -w, 0, "z")
        rim = path("M", x, y + ry, "a", w / 2, ry, "0 0 0", w, 0)
        inner = f'<path class="rim" d="{rim}"/>'
    elif kind == "service":
        d = path("M", x + 7, y, "h", w - 14, "l", 7, h / 2, "l", -7, h / 2, "h", 14 - w)
        d += path("l", -7, -h / 2, "z")
    elif kind == "listener":
        side = w - 3 - h / 2
        d = path("M", x + 3, y, "h", side, "a", h / 2, h / 2, "0 0 1 0", h, "h", -side)
        d += path("a3 3 0 0 1 -3 -3v", 6 - h, "a3 3 0 0 1 3 -3z")
    else:
        if kind == "model":
            band = min(26.0, h / 2)
            top = path("M", x, y + band, "v", 5 - band, "a5 5 0 0 1 5 -5h", w - 10)
            top += path("a5 5 0 0 1 5 5v", band - 5, "z")
            inner = f'<path class="band" d="{top}"/>'
        elif kind == "port":
            plug = min(12.0, h - 6)
            middle = y + (h - plug) / 2
            inner = "".join(
                f'<rect class="plug" {at(end - 3, middle, 6, plug)} rx="2"/>' for end in (x, x + w)
            )
        rx = {"event": h / 2, "model": 5.0, "port": 3.0}.get(kind, 4.0)
        return f'<rect class="shape" {at(x, y, w, h)} rx="{num(rx)}"/>{inner}'
    return f'<path class="shape" d="{d}"/>{inner}'


ICONS = {
    "model": "M0 1.5h10v8h-10zM0 4.5h10M4 4.5v5",
    "port": "M0 5h6M3.5 2.5l2.5 2.5l-2.5 2.5M9 0v10",
    "command": "M1 1.5l3.5 3.5l-3.5 3.5M5.5 9h4",
    "adapter": "M0 5h3M3 2h3a3 3 0 0 1 0 6h-3zM9 5h2",
    "service": "M2 8h6a2 2 0 0 0 0 -4a3 3 0 0 0 -5.8 .6a1.8 1.8 0 0 0 -.2 3.4",
    "listener": "M1 3.5h2l3 -2.5v8l-3 -2.5h-2zM8 3a3 3 0 0 1 0 4",
}


def _icon(kind: str, x: float, y: float) -> str:
    place = f'transform="translate({num(x)} {num(y)})"'
    return f'<path class="icon" {place} d="{ICONS[kind]}"/>'


def _mark(x: float, y: float) -> str:
    """The arrow that turns back: undo."""
    d = path("M", x, y + 3, "h7a3.5 3.5 0 0 1 0 7h-4M", x + 3, y, "l-3 3l3 3")
    return f'<path class="mark" d="{d}"/>'


def _legend(kinds: list[str], x: float, y: float, marks: Iterable[str] = ()) -> tuple[str, float]:
    """The kinds that occur, as they are drawn; with the x where it ends."""
    parts = ['<g class="legend">']

    def entry(drawn: str, word: str) -> None:
        nonlocal x
        parts.append(f'{drawn}<text x="{num(x + 28)}" y="{num(y + 10)}">{word}</text>')
        x += 44 + extent(word, 10.0)

    for kind in kinds:
        entry(f'<g class="{xml(kind)}">{_shape(kind, x, y, 22, 13)}</g>', kind)
    elsewhere = f'<rect class="shape" {at(x, y, 22, 13)} rx="4"/>'
    entry(f'<g class="reference">{elsewhere}</g>', "drawn elsewhere")
    entry(f'<g class="edge undo">{_mark(x + 8, y + 1)}</g>', "undo")
    for mark in marks:
        sign = f'<text class="sign" x="{num(x + 2)}" y="{num(y + 11)}">{SIGNS[mark]}</text>'
        box = f'<rect class="shape" {at(x, y, 22, 13)} rx="4"/>'
        entry(f'<g class="node {mark}">{box}{sign}</g>', mark)
    return "".join([*parts, "</g>"]), x


def _document(
    width: float, height: float, title: str, body: Iterable[str], digest: str = ""
) -> str:
    w, h = round(width), round(height)
    # A narrow place shrinks the picture until its text would be too small, then scrolls.
    least = f"min-width:{round(w * LEAST)}px"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="aegis-graph" role="img"'
        f' aria-label="{xml(title)}"'
        f' viewBox="0 0 {w} {h}" width="{w}" height="{h}" style="{least}"'
        f' data-digest="{digest}">'
        f"<title>{xml(title)}</title><style>{THEME}{STYLE}</style>"
        f'<rect class="ground" width="{w}" height="{h}" rx="6"/>{"".join(body)}</svg>'
    )


EMPTY = (
    '<g class="empty"><rect class="frame" x="20" y="16" width="380" height="88" rx="9"/>'
    '<text class="label" x="210" y="54" text-anchor="middle">Nothing is deployed yet</text>'
    '<text class="caption" x="210" y="76" text-anchor="middle">'
    "Run a cell that begins with %%component orders 1.0.0</text></g>"
)

# Names of variables that JupyterLab sets; the fallbacks make the picture stand by itself.
THEME = """
.aegis-graph{--fg:var(--jp-content-font-color1,#1f2933);--dim:var(--jp-content-font-color2,#5b6672);
--paper:var(--jp-layout-color0,#fff);--ground:var(--jp-layout-color0,#fff);
--wire:var(--jp-content-font-color2,#66727f);--bad:var(--jp-error-color1,#c62828);
max-width:100%;height:auto;
font:12px var(--jp-ui-font-family,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif)}
@media (prefers-color-scheme:dark){.aegis-graph{--fg:var(--jp-content-font-color1,#e4e8ec);
--dim:var(--jp-content-font-color2,#a0abb6);--paper:var(--jp-layout-color0,#1b2027);
--ground:var(--jp-layout-color0,#14181d);--wire:var(--jp-content-font-color2,#8a96a3);
--bad:var(--jp-error-color1,#ef7b72)}}
.aegis-graph .ground{fill:var(--ground)}
.aegis-graph text{fill:var(--fg);font-size:12px}
.aegis-graph .shape{fill:var(--paper);stroke:var(--hue,#8a94a0);stroke-width:1.3}
.aegis-graph .caption{font-size:10px;fill:var(--dim)}
.aegis-graph .line{fill:none;stroke:var(--wire);stroke-width:1.3}
.aegis-graph .tip{fill:var(--wire)}
""".replace("\n", "")

STYLE = """
.aegis-graph .h0{--hue:#3b82d6}.aegis-graph .h1{--hue:#e08326}.aegis-graph .h2{--hue:#2f9e68}
.aegis-graph .h3{--hue:#a05fd0}.aegis-graph .h4{--hue:#d1477a}.aegis-graph .h5{--hue:#1b9aa8}
.aegis-graph .frame{fill:var(--hue,#8a94a0);fill-opacity:.06;
stroke:var(--hue,#8a94a0);stroke-opacity:.45}
.aegis-graph .stripe{fill:var(--hue,#8a94a0)}
.aegis-graph .name{font-size:13px;font-weight:600}
.aegis-graph .band{fill:var(--hue,#8a94a0);fill-opacity:.22}
.aegis-graph .plug{fill:var(--hue,#8a94a0)}
.aegis-graph .rim{fill:none;stroke:var(--hue,#8a94a0);stroke-width:1.3}
.aegis-graph .icon{fill:none;stroke:var(--dim);stroke-width:1.2;
stroke-linejoin:round;stroke-linecap:round}
.aegis-graph .model .label{font-weight:600}
.aegis-graph .event .label,.aegis-graph .adapter .label,.aegis-graph .service .label,
.aegis-graph .store .label,.aegis-graph .reference text{font-size:11px}
.aegis-graph .event .shape{fill:var(--hue,#8a94a0);fill-opacity:.16}
.aegis-graph .adapter .shape{stroke-dasharray:5 3}
.aegis-graph .legend text{font-size:10px;fill:var(--dim)}
.aegis-graph .reference .shape{fill:none;stroke-dasharray:1.5 2.5;stroke-width:1.2}
.aegis-graph .reference text{fill:var(--dim);font-style:italic}
.aegis-graph .hook{fill:none;stroke:var(--dim);stroke-width:1.2}
.aegis-graph .hang .line,.aegis-graph .has .line{stroke-dasharray:2 3}
.aegis-graph .undo .line{stroke:var(--bad);stroke-dasharray:4 2}
.aegis-graph .mark{fill:none;stroke:var(--bad);stroke-width:1.3;stroke-linejoin:round}
.aegis-graph .figure{font-size:10px;fill:var(--dim);font-variant-numeric:tabular-nums;
paint-order:stroke;stroke:var(--ground);stroke-width:3px;stroke-linejoin:round}
.aegis-graph .node>.figure{text-anchor:end}.aegis-graph .edge>.figure{text-anchor:middle}
.aegis-graph .hang>.figure{text-anchor:start}
.aegis-graph .running>.figure{fill:var(--fg);font-weight:600}
.aegis-graph .node.running>.shape{stroke-width:2.4}
.aegis-graph .failing>.figure{fill:var(--bad);font-weight:600}
.aegis-graph .node.failing>.shape,.aegis-graph .failing>.line{stroke:var(--bad);stroke-width:2.4}
.aegis-graph .failing>.tip{fill:var(--bad)}
.aegis-graph .added{--mark:#2a9d4e}.aegis-graph .changed{--mark:#c98a00}
.aegis-graph .removed{--mark:#d2453f}
.aegis-graph .node:is(.added,.changed,.removed)>.shape{stroke:var(--mark);stroke-width:2.4;
fill:color-mix(in srgb,var(--mark) 14%,var(--paper))}
.aegis-graph .node.removed>.shape{stroke-dasharray:5 3}
.aegis-graph .node.removed>.label{text-decoration:line-through}
.aegis-graph .edge:is(.added,.changed,.removed)>.line{stroke:var(--mark);stroke-width:2.2}
.aegis-graph .edge.removed>.line{stroke-dasharray:5 3}
.aegis-graph .edge:is(.added,.changed,.removed)>.tip{fill:var(--mark)}
.aegis-graph .sign{fill:var(--mark);font-weight:700;font-size:13px;
paint-order:stroke;stroke:var(--ground);stroke-width:3px;stroke-linejoin:round}
.aegis-graph .node:hover .shape,.aegis-graph .edge:hover .line{stroke-width:2.2}
""".replace("\n", "")
