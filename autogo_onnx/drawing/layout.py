"""Where the boxes of a directed acyclic graph go: in layers, edges downward, nothing overlapping.

Numbers only. A box stands one layer below the lowest of those it hangs on. An edge that passes
layers gets a lane in each, which is placed like a box. The order within a layer follows the mean
place of the neighbours (Sugiyama, Tagawa and Toda 1981); coordinates then come as near to the mean
of the neighbours' as the gaps allow, which is an isotonic regression, solved exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

GAP_ACROSS, GAP_DOWN, LANE = 18.0, 26.0, 6.0
_SWEEPS_OF_ORDER, _SWEEPS_OF_PLACE = 8, 12

Edge = tuple[int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A placed rectangle: left, top, width and height in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Horizontal centre."""
        return self.left + self.width / 2

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + self.height


@dataclass(frozen=True)
class Layout:
    """Boxes in the order given, a line per edge from its first box down to its second, the size."""

    boxes: tuple[Box, ...]
    lines: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def arrange(sizes: Sequence[tuple[float, float]], edges: Sequence[Edge]) -> Layout:
    """Place boxes of given widths and heights; an edge goes from an earlier box to a later one.

    >>> below = arrange([(40, 20), (60, 20)], [(0, 1)])
    >>> [(box.left, box.top) for box in below.boxes]
    [(10.0, 0.0), (0.0, 46.0)]
    """
    layers = _layers(len(sizes), edges)
    widths = [width for width, _ in sizes]
    chains: list[list[int]] = []
    for first, last in edges:
        lanes = range(layers[first] + 1, layers[last])
        chains.append([first, *range(len(widths), len(widths) + len(lanes)), last])
        widths += [LANE] * len(lanes)
        layers += lanes
    steps = [pair for chain in chains for pair in pairwise(chain)]
    rows = _ordered(layers, steps)
    middles = _placed(rows, steps, widths)
    tops, bottoms = _bands(layers, sizes)
    boxes = tuple(
        Box(middles[n] - width / 2, _centred(tops, bottoms, layers[n], height), width, height)
        for n, (width, height) in enumerate(sizes)
    )
    lines = tuple(_line(chain, boxes, middles, (layers, tops, bottoms)) for chain in chains)
    right = max((m + w / 2 for m, w in zip(middles, widths, strict=True)), default=0.0)
    return Layout(boxes, lines, right, bottoms[-1] if bottoms else 0.0)


def _layers(count: int, edges: Sequence[Edge]) -> list[int]:
    """Longest way from a source; sources stand right above the first that hangs on them."""
    layers, sources = [0] * count, set(range(count))
    for first, last in sorted(edges, key=lambda edge: (edge[1], edge[0])):
        assert first < last, "edges go from earlier boxes to later ones"
        layers[last] = max(layers[last], layers[first] + 1)
        sources.discard(last)
    for source in sources:
        below = [layers[last] for first, last in edges if first == source]
        layers[source] = min(below, default=1) - 1
    return layers


def _ordered(layers: Sequence[int], steps: Sequence[Edge]) -> list[list[int]]:
    """Rows of boxes and lanes, sorted by the mean place of their neighbours above, then below."""
    rows: list[list[int]] = [[] for _ in range(max(layers, default=-1) + 1)]
    for item, layer in enumerate(layers):
        rows[layer].append(item)
    above, below = _neighbours(len(layers), steps)
    for sweep in range(_SWEEPS_OF_ORDER):
        downward = sweep % 2 == 0
        for row in rows if downward else reversed(rows):
            _sort(row, above if downward else below, rows, layers)
    return rows


def _sort(
    row: list[int],
    neighbours: Sequence[Sequence[int]],
    rows: Sequence[Sequence[int]],
    layers: Sequence[int],
) -> None:
    place: dict[int, int] = {}
    for layer in {layers[other] for item in row for other in neighbours[item]}:
        place.update({other: n for n, other in enumerate(rows[layer])})
    now = {item: n for n, item in enumerate(row)}

    def mean(item: int) -> float:
        found = [place[other] for other in neighbours[item]]
        return sum(found) / len(found) if found else float(now[item])

    row.sort(key=lambda item: (mean(item), now[item]))


def _neighbours(count: int, steps: Sequence[Edge]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for first, last in steps:
        above[last].append(first)
        below[first].append(last)
    return above, below


def _placed(
    rows: Sequence[Sequence[int]], steps: Sequence[Edge], widths: Sequence[float]
) -> list[float]:
    """Horizontal centre of every box and lane; the leftmost begins at 0.

    Lanes count as much as boxes: were they heavier, every block would stand off its skip to the
    same side, and a deep network lean over by a thousand pixels.
    """
    middles = [0.0] * len(widths)
    above, below = _neighbours(len(widths), steps)
    for sweep in range(_SWEEPS_OF_PLACE):
        downward = sweep % 2 == 0
        for row in rows if downward else reversed(rows):
            near = above if downward else below
            wanted = [_mean([middles[o] for o in near[i]], middles[i]) for i in row]
            found = spread(wanted, [widths[i] for i in row])
            for item, middle in zip(row, found, strict=True):
                middles[item] = middle
    left = min((m - w / 2 for m, w in zip(middles, widths, strict=True)), default=0.0)
    return [round(middle - left, 1) for middle in middles]


def spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Centres nearest to the wanted ones (sum of squares) with a gap between neighbours.

    >>> spread([0, 0], [10, 10])
    [-14.0, 14.0]
    """
    offsets = [0.0]
    for one, other in pairwise(widths):
        offsets.append(offsets[-1] + (one + other) / 2 + GAP_ACROSS)
    # Pool adjacent violators: blocks of (mean, number of members).
    blocks: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=False):
        blocks.append((want - offset, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (one, n), (other, m) = blocks[-2:]
            blocks[-2:] = [((one * n + other * m) / (n + m), n + m)]
    levels = [mean for mean, members in blocks for _ in range(members)]
    return [level + offset for level, offset in zip(levels, offsets, strict=False)]


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _bands(
    layers: Sequence[int], sizes: Sequence[tuple[float, float]]
) -> tuple[list[float], list[float]]:
    """Top and bottom of every layer; as high as its highest box."""
    heights = [0.0] * (max(layers, default=-1) + 1)
    for layer, (_, height) in zip(layers, sizes, strict=False):
        heights[layer] = max(heights[layer], height)
    tops, bottoms, top = [], [], 0.0
    for height in heights:
        tops.append(top)
        bottoms.append(top + height)
        top += height + GAP_DOWN
    return tops, bottoms


def _centred(tops: Sequence[float], bottoms: Sequence[float], layer: int, height: float) -> float:
    return (tops[layer] + bottoms[layer] - height) / 2


def _line(
    chain: Sequence[int],
    boxes: Sequence[Box],
    middles: Sequence[float],
    bands: tuple[Sequence[int], Sequence[float], Sequence[float]],
) -> tuple[Point, ...]:
    """From the lower edge of the first box, straight down every lane, to the next box's top."""
    layers, tops, bottoms = bands
    first, *lanes, last = chain
    points = [(middles[first], boxes[first].bottom), (middles[first], bottoms[layers[first]])]
    for lane in lanes:
        points += [(middles[lane], tops[layers[lane]]), (middles[lane], bottoms[layers[lane]])]
    points += [(middles[last], tops[layers[last]]), (middles[last], boxes[last].top)]
    return tuple(dict.fromkeys(points))
