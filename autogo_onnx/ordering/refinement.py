"""What one vertex tells about all others: single it out, and split colours as far as that goes.

Colours stay *stable*: the vertices of one colour have equally many edges of every kind to every
colour. Nothing here depends on the numbers of the vertices, so that what is done to two isomorphic
graphs is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

# Vertices and edges looked at: some seconds.
MOST_STEPS = 6_000_000
# Vertices singled out one inside the other; each takes a few Python frames.
MOST_NESTED = 100

Edge = tuple[int, int, int]  # from, to, label
Label = tuple[int, ...]
Colours = dict[int, int]
Cells = dict[int, list[int]]
Trace = tuple[tuple[int, tuple[tuple["_Marks", int], ...]], ...]
_Marks = tuple[tuple[int, Label], ...]


class TooSymmetric(Exception):
    """The bound was reached before the order was known to be canonical."""


class Refinement:
    """Refines colours of the vertices of one graph; its state is the number of steps left.

    Attributes:
        links: for every vertex its neighbours: all labels, after 0 ahead of it and 1 behind it.
    """

    def __init__(self, vertices: Iterable[int], edges: Iterable[Edge]) -> None:
        self.links: dict[int, dict[int, Label]] = {vertex: {} for vertex in vertices}
        self._steps_left = MOST_STEPS
        self._nested = 0
        pairs: dict[tuple[int, int], list[int]] = {}
        for start, end, label in edges:
            if start in self.links and end in self.links:
                pairs.setdefault((start, end), []).append(label)
        for (start, end), labels in pairs.items():
            self.links[start][end] = (0, *sorted(labels))
            self.links[end][start] = (1, *sorted(labels))

    def step(self, number: int) -> None:
        """Count steps.

        Raises:
            TooSymmetric: they were too many.
        """
        self._steps_left -= number
        if self._steps_left < 0:
            raise TooSymmetric(f"more than {MOST_STEPS} steps")

    @contextmanager
    def nested(self) -> Iterator[None]:
        """Within it a vertex is singled out.

        Raises:
            TooSymmetric: too many are.
        """
        self._nested += 1
        if self._nested > MOST_NESTED:
            raise TooSymmetric(f"more than {MOST_NESTED} vertices singled out")
        yield
        self._nested -= 1

    def parts(self, cells: Cells) -> list[Colours]:
        """What is left connected when edges that join all pairs of two cells alike are dropped.

        Cells of one vertex are left out: whatever is joined to them is joined alike.
        """
        colours = {v: c for c, cell in cells.items() if len(cell) > 1 for v in cell}
        between: dict[tuple[int, int], list[tuple[int, int, Label]]] = {}
        for vertex, colour in colours.items():
            for other, label in self.links[vertex].items():
                if not label[0] and other in colours:
                    edge = (vertex, other, label)
                    between.setdefault((colour, colours[other]), []).append(edge)
        neighbours: dict[int, list[int]] = {vertex: [] for vertex in colours}
        for (colour, other_colour), edges in between.items():
            self.step(len(edges))
            pairs = len(cells[colour]) * len(cells[other_colour])
            if len(edges) < pairs or len({label for _, _, label in edges}) > 1:
                for vertex, other, _ in edges:
                    neighbours[vertex].append(other)
                    neighbours[other].append(vertex)
        return [{v: colours[v] for v in part} for part in _connected(neighbours)]

    def singled_out(
        self, colours: Colours, vertex: int, most: Trace | None = None
    ) -> tuple[Colours, Trace]:
        """The colours with one vertex in a colour of its own, refined, and how that went.

        Refinement ends when its trace exceeds `most`.
        """
        refined = dict(colours)
        refined[vertex] = max(colours.values()) + 1
        trace = self.refine(refined, [vertex], most)
        return refined, trace

    def refine(self, colours: Colours, changed: Sequence[int], most: Trace | None = None) -> Trace:
        """Split colours in place until they are stable, or the trace of it exceeds `most`.

        A round looks at the neighbours of vertices that have new colours, at first `changed`.
        """
        self.step(len(colours))
        sizes = Counter(colours.values())
        fresh = count(max(sizes) + 1)
        trace: list[tuple[int, tuple[tuple[_Marks, int], ...]]] = []
        while changed:
            start = len(trace)
            split: list[int] = []
            for colour, groups in sorted(self._touched(colours, changed).items()):
                fragments = sorted(groups.items())
                trace.append((colour, tuple((marks, len(group)) for marks, group in fragments)))
                for group in _leaving([group for _, group in fragments], sizes[colour]):
                    new = next(fresh)
                    sizes[new] = len(group)
                    sizes[colour] -= len(group)
                    colours.update(dict.fromkeys(group, new))
                    split += group
            changed = split
            if most is not None:
                now, then = tuple(trace[start:]), most[start : len(trace)]
                if now > then:
                    break
                most = most if now == then else None
        return tuple(trace)

    def _touched(
        self, colours: Colours, changed: Sequence[int]
    ) -> dict[int, dict[_Marks, list[int]]]:
        """By colour and by how they are linked to changed vertices, the neighbours of these."""
        marks: dict[int, list[tuple[int, Label]]] = {}
        for vertex in changed:
            colour, links = colours[vertex], self.links[vertex]
            self.step(1 + len(links))
            for other, label in links.items():
                if other in colours:
                    marks.setdefault(other, []).append((colour, label))
        touched: dict[int, dict[_Marks, list[int]]] = {}
        for other, seen in marks.items():
            groups = touched.setdefault(colours[other], {})
            groups.setdefault(tuple(sorted(seen)), []).append(other)
        return touched


def cells_of(colours: Colours) -> Cells:
    """The vertices of every colour."""
    cells: Cells = {}
    for vertex, colour in colours.items():
        cells.setdefault(colour, []).append(vertex)
    return cells


def target(colours: Colours) -> list[int]:
    """The vertices of the rarest colour, the least of these: where to look first."""
    return min(cells_of(colours).items(), key=lambda item: (len(item[1]), item[0]))[1]


def _leaving(fragments: list[list[int]], size: int) -> list[list[int]]:
    """The fragments of a cell that get a new colour.

    One keeps the old, so that nobody need look at its neighbours: the vertices that are in no
    fragment, or else the largest.
    """
    if sum(map(len, fragments)) == size:
        fragments.remove(max(fragments, key=len))
    return fragments


def _connected(neighbours: Mapping[int, Sequence[int]]) -> Iterator[list[int]]:
    seen: set[int] = set()
    for start in neighbours:
        if start in seen:
            continue
        seen.add(start)
        part = [start]
        for vertex in part:
            new = [other for other in neighbours[vertex] if other not in seen]
            seen.update(new)
            part += dict.fromkeys(new)
        yield part
