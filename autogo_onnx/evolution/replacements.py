"""What could stand in the place of a segment: others of the database, its own cheaper forms."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.random import Generator

from autogo_onnx.evolution.settings import Limits, Settings, Unit, operators
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.segment_db.facts import Demand
from autogo_onnx.segment_db.store import Store
from autogo_onnx.shapes import Infeasible, adapt
from autogo_onnx.variants import self_variants

_ID_DIGITS = 12
_MOST_VARIANTS = 64
# Segments of the database per source, whether they hold forbidden operators or not.
MOST_LOOKED_AT = 200
# A turn: of the database, and of the segment's own forms.
_STORED, _OWN = 3, 1

Found = tuple[str, OpGraph | None]
"""Where a replacement comes from, and the graph; None where the boundary cannot be had."""


class Replacements:
    """Replacements for any segment.

    Args:
        store: the segments.
        settings, limits: of the search.
    """

    def __init__(self, store: Store, settings: Settings, limits: Limits) -> None:
        self._store = store
        self._is_single = settings.unit is Unit.OP
        self._operators = limits.operators
        self._is_allowed: dict[str, bool] = {}

    def draw(self, segment: OpGraph, most_macs: float, generator: Generator) -> Iterator[Found]:
        """Replacements with the segment's boundary, in random order, without duplicates.

        Segments of the database come the earlier the more frequent they are; between them stand
        the segment's own cheaper forms, and the identity where it fits. Operators that the limits
        forbid are left out.

        Args:
            segment: what is replaced.
            most_macs: multiply-accumulates that a replacement should have at most.
            generator: that draws.
        """
        stored = self._stored(segment, most_macs, generator)
        own = iter(self._own(segment, generator))
        seen = {segment}
        while turn := [*islice(own, _OWN), *islice(stored, _STORED)]:
            for name, graph in turn:
                if graph is None or graph not in seen:
                    yield name, graph
                    if graph is not None:
                        seen.add(graph)

    def _stored(self, segment: OpGraph, most_macs: float, generator: Generator) -> Iterator[Found]:
        shapes = segment.input_shapes, segment.output_shapes
        demand = Demand(*shapes, most_macs)
        if self._is_single:
            demand = Demand(*shapes, most_macs, most_ops=1)
        found = self._store.candidates(demand)
        # Exponential races at the rate 1 / sqrt(rank): frequent segments tend to come first.
        ranks = np.sqrt(np.arange(1, len(found) + 1))
        races = generator.exponential(size=len(found)) * ranks
        order = np.argsort(races, kind="stable")[:MOST_LOOKED_AT].tolist()
        for one in found.ordered(order):
            if one.id not in self._is_allowed:
                self._is_allowed[one.id] = self._may_hold(one.graph)
            if self._is_allowed[one.id]:
                graph = _fitted(one.graph, *shapes)
                if graph is None or self._may_hold(graph):
                    yield f"db:{one.id[:_ID_DIGITS]}", graph

    def _own(self, segment: OpGraph, generator: Generator) -> list[Found]:
        """The segment's own forms and the identity, in random order."""
        own: list[Found] = []
        if segment.input_shapes == segment.output_shapes and segment.n_inputs == 1:
            own.append(("identity", OpGraph(segment.input_shapes, (), (), (0,))))
        if not self._is_single:
            own += [(f"variant:{name}", graph) for name, graph in _variants(segment)]
        allowed = [one for one in own if one[1] is not None and self._may_hold(one[1])]
        return [allowed[i] for i in generator.permutation(len(allowed))]

    def _may_hold(self, graph: OpGraph) -> bool:
        return self._operators.issuperset(operators(graph))


# Pure, so what is remembered changes nothing; bounded, so that long searches stay small.
@lru_cache(maxsize=1 << 13)
def _fitted(
    segment: OpGraph, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]
) -> OpGraph | None:
    made = adapt(segment, inputs, outputs)
    return None if isinstance(made, Infeasible) else made


@lru_cache(maxsize=1 << 8)
def _variants(segment: OpGraph) -> tuple[tuple[str, OpGraph], ...]:
    return tuple((v.name, v.graph) for v in islice(self_variants(segment), _MOST_VARIANTS))
