"""Where a network may change: some of its segments, those that cost most the most often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from autogo_onnx.cost import op_macs
from autogo_onnx.evolution.settings import Settings, Unit
from autogo_onnx.opgraph import Cut, OpGraph, Shape, cut
from autogo_onnx.segment_db.segmentation import is_connected, pieces
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.serialize import canonical_order

LARGEST = 16
PER_SEGMENTATION = 10
# A share that is given out by the number of operators, so that what costs nothing changes too.
_BY_NUMBER = 0.2
_MAP_AXES = 4
_SEEDS = 1 << 31


class Sources:
    """The sources of one network.

    Args:
        graph: the network.
        vocabulary: that cuts it.
        settings: of the search.
        fixed: operators that no source may hold.
    """

    def __init__(
        self,
        graph: OpGraph,
        vocabulary: Vocabulary,
        settings: Settings,
        fixed: frozenset[int] = frozenset(),
    ) -> None:
        self._graph = graph
        self._fixed = fixed
        self._vocabulary = vocabulary
        self._settings = settings
        self._readers = graph.readers()
        macs = np.array(op_macs(graph), np.float64)
        number = np.full(len(macs), 1 / max(1, len(macs)))
        shares = macs / macs.sum() if macs.sum() > 0 else number
        self._weights = (1 - _BY_NUMBER) * shares + _BY_NUMBER * number

    def draw(self, generator: Generator) -> list[Cut]:
        """Some sources of one segmentation, without replacement, by their shares of the cost.

        A source is connected and convex, reads and makes maps of more than one pixel, and may be
        empty of weights. There may be none.
        """
        groups = self._groups(self._cut_up(generator))
        found = [part for part in map(self._source, groups) if part is not None]
        if not found:
            return []
        weights = np.array([self._weights[list(part.ops)].sum() for part in found])
        # The largest of so many exponential races are a draw without replacement.
        times = generator.exponential(size=len(found)) / weights
        return [found[i] for i in np.argsort(times, kind="stable")[:PER_SEGMENTATION]]

    def _cut_up(self, generator: Generator) -> Sequence[Sequence[int]]:
        if self._settings.unit is Unit.OP:
            return [(index,) for index in canonical_order(self._graph)]
        seed = int(generator.integers(_SEEDS))
        return pieces(self._graph, self._vocabulary.thinned(self._settings.dropped, seed))

    def _groups(self, parts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Consecutive parts; single ones where the unit is an operator."""
        joined = 1 if self._settings.unit is Unit.OP else self._settings.consecutive
        return [
            [index for part in parts[start:stop] for index in part]
            for start in range(len(parts))
            for stop in range(start + 1, min(start + joined, len(parts)) + 1)
        ]

    def _source(self, ops: Sequence[int]) -> Cut | None:
        """The operators as a source; None where they may not be one."""
        if len(ops) > LARGEST or not self._fixed.isdisjoint(ops):
            return None
        part = cut(self._graph, ops, self._readers)
        shapes = (*part.graph.input_shapes, *part.graph.output_shapes)
        is_end = any(t < self._graph.n_inputs for t in part.inputs) or not set(
            part.outputs
        ).isdisjoint(self._graph.outputs)
        allowed = (
            bool(part.inputs)
            and bool(part.outputs)
            and (self._settings.ends or not is_end)
            and all(map(_is_map, shapes))
            and is_connected(part.graph)
        )
        return part if allowed else None


def _is_map(shape: Shape) -> bool:
    """One pixel is the head of a network, or a gate."""
    return len(shape) == _MAP_AXES and shape[2] * shape[3] > 1
