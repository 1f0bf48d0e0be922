"""Two labelled networks that differ in one segment, as (P, S, S', C) rows.

| family | segment S | predecessor P, successor C |
| --- | --- | --- |
| NAS-Bench-201 | the cell in the middle of the network | all before it, all after it |
| NAS-Bench-Macro | the blocks from the first to the last that differ | likewise |

NAS-Bench-201 repeats one cell 15 times and its table knows no network with one cell changed, so
the change of all 15 is put down to the one in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from autogo_onnx import features, part_features
from autogo_onnx.features import Rows
from autogo_onnx.opgraph import OpGraph, cut
from autogo_onnx.part_features import Vector
from autogo_onnx.predictor_labels import Labels
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro

Spans = tuple[range, ...]
"""The operators of every place (cell or block) of a network; before the first lies the stem."""


class Sites:
    """Cuts a family's networks where two of them differ; every distinct part is described once."""

    def __init__(self, family: str) -> None:
        self._network, self._differ, self._content = _FAMILIES[family]
        self._described: dict[tuple[str, range, str], Vector] = {}

    def rows(self, parent: str, children: Sequence[str]) -> Rows:
        """A row for the replacement of the parent by each child, float32[N,F]."""
        found = [self._row(parent, child) for child in children]
        return np.concatenate(found) if found else np.empty((0, len(features.COLUMNS)), np.float32)

    def _row(self, parent: str, child: str) -> Rows:
        place = self._differ(parent, child)
        site = features.Context(
            predecessor=self._part("before", parent, place),
            segment=self._part("at", parent, place),
            successor=self._part("after", parent, place),
        )
        return features.rows_of_parts(site, self._part("at", child, place)[None])

    def _part(self, side: str, arch: str, place: range) -> Vector:
        wanted = (side, place, self._content(side, arch, place))
        if wanted not in self._described:
            self._describe(arch, place)
        return self._described[wanted]

    def _describe(self, arch: str, place: range) -> None:
        """All three parts at once: making the network costs more than describing it."""
        network = self._network(arch)
        for side in ("before", "at", "after"):
            key = (side, place, self._content(side, arch, place))
            if key not in self._described:
                self._described[key] = part_features.describe(_part_graph(network, side, place))


def draw(
    labels: Labels, networks: Sequence[int], *, neighbours: int, others: int, seed: int
) -> list[tuple[int, list[int]]]:
    """For every network of `networks`, those it is compared with, from `networks` only.

    Args:
        neighbours: at most so many that differ at one place.
        others: so many drawn from all, whatever the difference: they carry the wide changes that a
            segment from the database may be.
    """
    generator = np.random.default_rng(seed)
    pool, members = np.array(sorted(networks)), set(networks)
    drawn = []
    for parent in pool.tolist():
        near = [n for n in labels.neighbours[parent] if n in members]
        near = generator.permutation(near).tolist()[:neighbours] if near else []
        far = generator.choice(pool, others).tolist()
        drawn.append((parent, [int(n) for n in near + far if n != parent]))
    return drawn


def _part_graph(network: tuple[OpGraph, Spans], side: str, place: range) -> OpGraph:
    """The operators before, at or after a place; an empty place is an identity."""
    graph, spans = network
    begin, end = spans[place.start].start, spans[place.stop - 1].stop
    if side == "before":
        return cut(graph, range(begin)).graph
    if side == "after":
        return cut(graph, range(end, len(graph.ops))).graph
    if begin == end:
        return OpGraph((graph.op_shapes[begin - 1],), (), (), (0,))
    return cut(graph, range(begin, end)).graph


def _nasbench201(arch: str) -> tuple[OpGraph, Spans]:
    """A network and its 15 cells: the stem is one operator, a reduction seven, the end five."""
    graph = nasbench201.build(arch).folded()
    length, rest = divmod(len(graph.ops) - (1 + 2 * 7 + 5), 15)
    assert rest == 0, "a network of the family has 15 equal cells"
    starts = [1 + 7 * (cell // 5) + length * cell for cell in range(15)]
    return graph, tuple(range(start, start + length) for start in starts)


def _macro(arch: str) -> tuple[OpGraph, Spans]:
    """A network and its 8 blocks: the stem is two operators, the end five."""
    graph = nasbench_macro.build(arch).folded()
    firsts = {sum(blocks for blocks, _ in nasbench_macro.STAGES[:n]) for n in range(3)}
    lengths = [
        (1 if digit == "0" else 5) if place in firsts else (0 if digit == "0" else 6)
        for place, digit in enumerate(arch)
    ]
    assert len(graph.ops) == 2 + sum(lengths) + 5, "blocks have 5 operators, or 6 with residual"
    starts = accumulate(lengths, initial=2)
    return graph, tuple(range(s, s + n) for s, n in zip(starts, lengths, strict=False))


def _middle_cell(parent: str, child: str) -> range:
    return range(7, 8)


def _where_blocks_differ(parent: str, child: str) -> range:
    """From the first to the last differing block; the first block when none differs."""
    differ = [n for n, (a, b) in enumerate(zip(parent, child, strict=True)) if a != b] or [0]
    return range(differ[0], differ[-1] + 1)


def _same_cell(side: str, arch: str, place: range) -> str:
    return arch


def _blocks(side: str, arch: str, place: range) -> str:
    bounds = {"before": (0, place.start), "at": (place.start, place.stop), "after": (place.stop, 8)}
    begin, end = bounds[side]
    return arch[begin:end]


_FAMILIES: dict[
    str,
    tuple[
        Callable[[str], tuple[OpGraph, Spans]],
        Callable[[str, str], range],
        Callable[[str, str, range], str],
    ],
] = {
    nasbench201.NAME: (_nasbench201, _middle_cell, _same_cell),
    nasbench_macro.NAME: (_macro, _where_blocks_differ, _blocks),
}
