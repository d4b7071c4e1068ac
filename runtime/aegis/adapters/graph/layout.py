"""Where everything in the picture goes: rows laid out by graphlay, frames put on shelves.

A picture stays readable however much it holds, because no line crosses it: a node is drawn once,
in the frame of its component (a node of no component where it is first needed), and whatever else
is connected to it shows a small reference there. A long flow goes on in a new row the same way.
Adapters and services hang below the step that asks them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import graphlay

from aegis.adapters.graph.pen import extent
from aegis.core.graph import Edge, Graph, Node

WIDTH = 1150.0  # of a frame's content, px; wider only when the whole would become a ribbon
GAP = 34.0  # between neighbours in a row
HUES = 6
HEIGHTS = {
    "model": 46.0,
    "port": 44.0,
    "command": 32.0,
    "event": 26.0,
    "listener": 36.0,
    "store": 36.0,
    "adapter": 26.0,
    "service": 26.0,
    "reference": 20.0,
}
HANG = 8.0
CROWD = 24  # lines at one box
MASS = 400  # lines in one row
INDENT = 14.0
FLOW = frozenset({"consumes", "produces", "has"})
HANGING = frozenset({"adapter", "service", "store"})


@dataclass
class Box:
    """A node, or a reference to one, somewhere in the picture; `x` and `y` are its top left."""

    node: Node
    width: float
    height: float
    reference: bool = False
    x: float = 0.0
    y: float = 0.0
    hanging: list[tuple[Box, list[Edge]]] = field(default_factory=list)

    @property
    def depth(self) -> float:
        """How far what hangs below reaches."""
        return sum(HANG + box.height + box.depth for box, _ in self.hanging)

    @property
    def span(self) -> float:
        """The width with what hangs below."""
        return max([self.width, *(INDENT + box.span for box, _ in self.hanging)])

    def place(self, x: float, y: float) -> None:
        """Put it at (x, y) and what hangs on it below."""
        self.x, self.y = x, y
        below = y + self.height
        for box, _ in self.hanging:
            box.place(x + INDENT, below + HANG)
            below += HANG + box.height + box.depth

    def all(self) -> Iterator[Box]:
        """Itself and what hangs on it."""
        yield self
        for box, _ in self.hanging:
            yield from box.all()


@dataclass
class Line:
    """An edge between two boxes of a row; an echo when it is drawn in another frame as well."""

    edge: Edge
    points: list[tuple[float, float]]
    echo: bool


@dataclass
class Row:
    """A piece of a flow, laid out as a whole."""

    boxes: dict[str, Box] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0

    def lay(self) -> None:
        """Give every box its place and every edge its line, from (0, 0)."""
        graph = graphlay.Graph()
        for id, box in self.boxes.items():
            # As much above as hangs below, so that lines meet the box itself and not its parts.
            graph.node(id, label="", width=box.span, height=box.height + 2 * box.depth)
        for edge in self.edges:
            graph.edge(edge.source, edge.target, weight=1.0 if edge.kind == "has" else 4.0)
        options = {
            "spacing": {
                "layer_gap": GAP,
                "node_gap": 14.0,
                "isolated_gap": 18.0,
                "reroute_node_gap": 14.0,
                "dummy_gap": 14.0,
            },
            "tuning": {"routing": self._haste()},
        }
        laid = graphlay.layout(graph, options=options)
        for box, node in zip(self.boxes.values(), laid.nodes, strict=True):
            box.place(node["center"]["x"] - box.span / 2, node["center"]["y"] - box.height / 2)
        for edge, route in zip(self.edges, laid.edges, strict=True):
            points = [(point["x"], point["y"]) for point in route["points"]]
            source, target = self.boxes[edge.source], self.boxes[edge.target]
            echo = (target if source.node.kind == "event" else source).reference
            self.lines.append(Line(edge, _fit(points, source, target), echo))
        every = [box for outer in self.boxes.values() for box in outer.all()]
        xs = [*(b.x for b in every), *(x for line in self.lines for x, _ in line.points)]
        ys = [*(b.y for b in every), *(y for line in self.lines for _, y in line.points)]
        self.move(-min(xs), -min(ys))
        xs = [*(b.x + b.width for b in every), *(x for line in self.lines for x, _ in line.points)]
        ys = [*(b.y + b.height for b in every), *(y for line in self.lines for _, y in line.points)]
        self.width, self.height = max(xs), max(ys)

    def _haste(self) -> dict[str, int]:
        """What of the routing is left out where it takes seconds and shows little.

        Setting apart the lines that meet at one box takes the third power of their number.
        """
        ends = Counter(end for edge in self.edges for end in (edge.source, edge.target))
        left_out = {"port_relax_rounds": 0} if max(ends.values(), default=0) > CROWD else {}
        return left_out | ({"overlap_repair_rounds": 0} if len(self.edges) > MASS else {})

    def move(self, dx: float, dy: float) -> None:
        """Shift everything in it."""
        for box in self.boxes.values():
            box.place(box.x + dx, box.y + dy)
        for line in self.lines:
            line.points = [(x + dx, y + dy) for x, y in line.points]


def _fit(points: list[tuple[float, float]], source: Box, target: Box) -> list[tuple[float, float]]:
    """Let a line that meets the room around a box go on to the box itself."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    right = source.x + source.width
    leave = min(max(y0, source.y + 5), source.y + source.height - 5)
    if abs(x0 - (source.x + source.span)) < 1:
        bend = [(x0 + 5, leave), (x0 + 5, y0)] if abs(leave - y0) > 1 else []
        points = [(right, leave), *bend, *points[1:]]
    arrive = min(max(y1, target.y + 5), target.y + target.height - 5)
    if abs(x1 - target.x) < 1 and abs(arrive - y1) > 1:
        points = [*points[:-1], (x1 - 12, y1), (x1 - 12, arrive), (x1, arrive)]
    return points


@dataclass
class Frame:
    """A component with its rows, or what belongs to none."""

    name: str
    hue: int
    rows: list[Row]
    x: float = 0.0
    y: float = 0.0
    stretched: float = 0.0

    PAD: ClassVar = 16.0
    HEAD: ClassVar = 32.0
    BETWEEN: ClassVar = 22.0

    def __post_init__(self) -> None:
        # Small flows share a shelf, so that ten of them are no ribbon.
        self.shelves: list[list[Row]] = []
        room = max([WIDTH, *(row.width for row in self.rows)])
        used = 0.0
        for row in self.rows:
            if not self.shelves or used + row.width > room:
                self.shelves.append([])
                used = 0.0
            self.shelves[-1].append(row)
            used += row.width + 2 * self.BETWEEN

    @property
    def width(self) -> float:
        """Of the whole frame, px."""
        gap = 2 * self.BETWEEN
        widths = (sum(row.width + gap for row in shelf) - gap for shelf in self.shelves)
        return max(max([*widths, 150.0]) + 2 * self.PAD, self.stretched)

    @property
    def height(self) -> float:
        """Of the whole frame, px."""
        heights = [max(row.height for row in shelf) for shelf in self.shelves]
        return self.HEAD + sum(heights) + self.BETWEEN * (len(heights) - 1) + self.PAD

    def place(self, x: float, y: float) -> None:
        """Put it at (x, y) and its rows inside."""
        self.x, self.y = x, y
        top = y + self.HEAD
        for shelf in self.shelves:
            left = x + self.PAD
            for row in shelf:
                row.move(left, top)
                left += row.width + 2 * self.BETWEEN
            top += max(row.height for row in shelf) + self.BETWEEN


class Plan:
    """What of a graph is drawn where. `size` is (width, height) of all frames, px."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.id: node for node in graph.nodes}
        self.edges = [e for e in graph.edges if e.source in self.nodes and e.target in self.nodes]
        self.into: dict[str, list[Edge]] = {id: [] for id in self.nodes}
        self.out: dict[str, list[Edge]] = {id: [] for id in self.nodes}
        for edge in self.edges:
            self.out[edge.source].append(edge)
            self.into[edge.target].append(edge)
        self.homes = {node.id: self._home(node) for node in graph.nodes}
        names = sorted({name for name in self.homes.values() if name})
        self.hues = {name: number % HUES for number, name in enumerate(names)}
        self.members: dict[str, list[Node]] = {}
        for node in graph.nodes:
            self.members.setdefault(self.homes[node.id], []).append(node)
        self._hung: set[str] = set()
        self.frames = [self._frame(name) for name in self.members]
        self.size = self._arrange()

    def _home(self, node: Node) -> str:
        """The component in whose frame a node is drawn."""
        if node.component:
            return node.component
        edges = [*self.into[node.id], *self.out[node.id]]
        others = (self.nodes[e.target if e.source == node.id else e.source] for e in edges)
        return next((other.component for other in others if other.component), "")

    def _flowing(self, edge: Edge) -> bool:
        """Whether an edge is a line of a row; `has` is one only to what no event sets off."""
        if edge.kind == "has":
            return not any(other.kind == "consumes" for other in self.into[edge.target])
        return edge.kind in FLOW

    def _frame(self, name: str) -> Frame:
        members = self.members[name]
        boxes = {n.id: self._box(n) for n in members if n.kind not in HANGING}
        for id, box in boxes.items():
            self._hang(box, self.out[id], name)
        for node in members:
            if node.kind in HANGING and node.id not in self._hung:
                self._hung.add(node.id)
                boxes[node.id] = self._box(node)
                self._hang(boxes[node.id], self.out[node.id], name)
        near = dict.fromkeys(edge for id in boxes for edge in (*self.into[id], *self.out[id]))
        flows = [edge for edge in near if self._flowing(edge)]
        rows: list[Row] = []
        for group in _groups(list(boxes), flows):
            steps = {id: boxes[id] for id in group}
            rows += self._rows(steps, [e for e in flows if e.source in steps or e.target in steps])
        for row in rows:
            row.lay()
        return Frame(name, self.hues.get(name, 0), rows)

    def _hang(self, box: Box, edges: Iterable[Edge], frame: str) -> None:
        """Hang on a box the parts it asks; one that hangs elsewhere already as a reference."""
        asked: dict[str, list[Edge]] = {}
        for edge in edges:
            if self.nodes[edge.target].kind in HANGING and not self._flowing(edge):
                asked.setdefault(edge.target, []).append(edge)
        for id, reasons in asked.items():
            node = self.nodes[id]
            home = id not in self._hung and self.homes[id] == frame
            below = self._box(node, reference=not home)
            box.hanging.append((below, reasons))
            if home:
                self._hung.add(id)
                self._hang(below, self.out[id], frame)

    def _box(self, node: Node, *, reference: bool = False) -> Box:
        small = node.kind in {"event", *HANGING}
        label = min(extent(node.label, 11.0 if small else 12.0), 200.0)
        if reference:
            return Box(node, label + 32, HEIGHTS["reference"], reference=True)
        width = label + (22 if node.kind in {"event", "store"} else 34)
        if node.kind in {"model", "port"}:
            width = max(width, 126.0, min(extent(self.caption(node), 10.0), 170.0) + 30)
        if self.marks(node):
            width += 16
        return Box(node, max(width, 64.0), HEIGHTS.get(node.kind, 32.0))

    def owners(self, node: Node) -> list[Edge]:
        """The `has` edges that are told by a caption in the box instead of a line to it."""
        return [e for e in self.into[node.id] if e.kind == "has" and not self._flowing(e)]

    def marks(self, node: Node) -> list[Edge]:
        """The `undo` edges that are told by a mark on the box instead of a line."""
        edges = (edge for edge in self.out[node.id] if edge.kind == "undo")
        return [edge for edge in edges if self.nodes[edge.target].kind not in HANGING]

    def caption(self, node: Node) -> str:
        """The second line of a model or a port."""
        if node.kind == "model":
            return node.detail
        names = [self.nodes[edge.source].label for edge in self.owners(node)]
        return " \u00b7 ".join([*names, *node.detail.split(" \u00b7 ")[:1]])

    def _rows(self, steps: Mapping[str, Box], flows: list[Edge]) -> list[Row]:
        """Cut a component's flow into rows that fit, where events pass from one to the next."""
        inside = [edge for edge in flows if edge.source in steps and edge.target in steps]
        ranks = _ranks(list(steps), inside)
        columns: list[list[str]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
        for id, rank in ranks.items():
            columns[rank].append(id)
        area = sum((b.span + GAP) * (b.height + 2 * b.depth + 30) for b in steps.values())
        room = max(WIDTH, min(2.4 * WIDTH, (area * 1.6) ** 0.5))
        number: dict[str, int] = {}
        for count, piece in enumerate(self._pieces(columns, steps, room)):
            number.update(dict.fromkeys(piece, count))
        rows = [Row() for _ in range(max(number.values(), default=-1) + 1)]
        for id, box in steps.items():
            rows[number[id]].boxes[id] = box
        for edge in flows:
            ends = {number[end] for end in (edge.source, edge.target) if end in steps}
            for end in sorted(ends) if len(ends) == 1 else [self._owner(edge, number)]:
                row = rows[end]
                row.edges.append(edge)
                for id in (edge.source, edge.target):
                    if id not in row.boxes:
                        row.boxes[id] = self._box(self.nodes[id], reference=True)
        return rows

    def _owner(self, edge: Edge, number: Mapping[str, int]) -> int:
        """The row that shows an edge between two rows: that of the end which is no event."""
        step = edge.target if self.nodes[edge.source].kind == "event" else edge.source
        return number[step]

    def _pieces(
        self, columns: list[list[str]], steps: Mapping[str, Box], room: float
    ) -> Iterator[list[str]]:
        widths = [max(steps[id].span for id in column) + GAP for column in columns]
        events = [
            sum(self.nodes[id].kind == "event" for id in column) * 2 > len(column)
            for column in columns
        ]
        begin = 0
        while begin < len(columns):
            used = 0.0 if begin == 0 else 140.0 + GAP
            end = begin
            while end < len(columns) and (end == begin or used + widths[end] <= room):
                used += widths[end]
                end += 1
            if begin + 2 < end < len(columns) and not events[end - 1] and events[end - 2]:
                end -= 1
            yield [id for column in columns[begin:end] for id in column]
            begin = end

    def _arrange(self) -> tuple[float, float]:
        """Put the frames on shelves; the size of the whole."""
        area = sum(frame.width * frame.height for frame in self.frames)
        widest = max((frame.width for frame in self.frames), default=0.0)
        room = max(widest, WIDTH + 40, (area * 1.5) ** 0.5)
        x, y, shelf, right = 0.0, 0.0, 0.0, 0.0
        for frame in self.frames:
            if x > 0 and x + frame.width > room:
                x, y, shelf = 0.0, y + shelf + 16, 0.0
            frame.place(x, y)
            x += frame.width + 16
            shelf = max(shelf, frame.height)
            right = max(right, x - 16)
        for frame in self.frames:
            if sum(other.y == frame.y for other in self.frames) == 1:
                frame.stretched = right
        return right, y + shelf


def _groups(ids: list[str], edges: Iterable[Edge]) -> list[list[str]]:
    """The ids that hang together, each group where its first one stands."""
    near: dict[str, list[str]] = {id: [] for id in ids}
    for edge in edges:
        if edge.source in near and edge.target in near:
            near[edge.source].append(edge.target)
            near[edge.target].append(edge.source)
    first: dict[str, str] = {}
    for id in ids:
        queue = [] if id in first else [id]
        for other in queue:
            if other not in first:
                first[other] = id
                queue += near[other]
    groups: dict[str, list[str]] = {}
    for id in ids:
        groups.setdefault(first[id], []).append(id)
    return list(groups.values())


def _ranks(ids: list[str], edges: list[Edge]) -> dict[str, int]:
    """The column of each node: after all that lead to it, edges that close a circle left out."""
    out: dict[str, list[str]] = {id: [] for id in ids}
    for edge in edges:
        out[edge.source].append(edge.target)
    order: list[str] = []
    state: dict[str, int] = {}
    back: set[tuple[str, str]] = set()
    into = {edge.target for edge in edges}
    for root in sorted(ids, key=lambda id: id in into):
        stack = [(root, iter(out[root]))] if root not in state else []
        state.setdefault(root, 1)
        while stack:
            id, following = stack[-1]
            for target in following:
                if state.get(target) == 1:
                    back.add((id, target))
                elif target not in state:
                    state[target] = 1
                    stack.append((target, iter(out[target])))
                    break
            else:
                state[id] = 2
                order.append(id)
                stack.pop()
    ranks = dict.fromkeys(ids, 0)
    for id in reversed(order):
        for target in out[id]:
            if (id, target) not in back:
                ranks[target] = max(ranks[target], ranks[id] + 1)
    return ranks
