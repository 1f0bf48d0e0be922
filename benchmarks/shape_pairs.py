"""Places in the zoo's models, the stored segments that could stand there, and adapting these."""

from __future__ import annotations

import random
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unittest.mock import patch

from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.segment_db.store import Store
from autogo_onnx.shapes import Infeasible, adapt, level_model
from benchmarks.zoo_sites import zoo_sites

Segments = dict[tuple[int, int], tuple[tuple[str, OpGraph], ...]]


@dataclass(frozen=True, order=True)
class Place:
    """The boundary of one or more sites: what a segment must have to stand there.

    Attributes:
        inputs, outputs: full shapes.
        sites: how many sites of the zoo have them.
    """

    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    sites: int

    @property
    def is_of_maps(self) -> bool:
        """Whether all its tensors are batches of two-dimensional maps."""
        return all(len(shape) == 4 for shape in (*self.inputs, *self.outputs))

    def __str__(self) -> str:
        sides = (", ".join(map(_spelled, side)) for side in (self.inputs, self.outputs))
        return " to ".join(sides)


@dataclass(frozen=True)
class Pair:
    """A place and a stored segment with as many inputs and outputs."""

    place: Place
    identifier: str
    segment: OpGraph


@dataclass(frozen=True)
class Outcome:
    """What adapting a pair gave.

    Attributes:
        graph: the adapted segment, or why there is none.
        ms: CPU time in milliseconds.
        solver_calls: of the mixed-integer solver.
    """

    graph: OpGraph | Infeasible
    ms: float
    solver_calls: int

    @property
    def fits(self) -> bool:
        """Whether the segment can stand there."""
        return isinstance(self.graph, OpGraph)


def places(store: Store) -> tuple[Place, ...]:
    """The distinct boundaries of the zoo's sites, sorted."""
    found = Counter(
        (site.graph.input_shapes, site.graph.output_shapes)
        for site in zoo_sites(store.vocabulary())
    )
    return tuple(sorted(Place(*boundary, count) for boundary, count in found.items()))


def segments(store: Store, where: Sequence[Place]) -> Segments:
    """The stored segments, by number of inputs and outputs."""
    sides = sorted({(len(place.inputs), len(place.outputs)) for place in where})
    return {side: tuple((s.id, s.graph) for s in store.with_boundary(*side)) for side in sides}


def pairs(where: Sequence[Place], stored: Segments) -> Iterator[Pair]:
    """Every segment at every place."""
    for place in where:
        for identifier, graph in stored[len(place.inputs), len(place.outputs)]:
            yield Pair(place, identifier, graph)


def sample(where: Sequence[Place], stored: Segments, seed: int) -> Iterator[Pair]:
    """All pairs in random order."""
    ends, total = [], 0
    for place in where:
        total += len(stored[len(place.inputs), len(place.outputs)])
        ends.append(total)
    order = list(range(total))
    random.Random(seed).shuffle(order)
    for number in order:
        place, offset = _place_of(where, ends, number)
        yield Pair(place, *stored[len(place.inputs), len(place.outputs)][offset])


def measured(pair: Pair) -> Outcome:
    """Adapt a pair, measured."""
    with patch.object(level_model, "solve", wraps=level_model.solve) as solver:
        start = time.process_time()
        graph = adapt(pair.segment, pair.place.inputs, pair.place.outputs)
        ms = 1000 * (time.process_time() - start)
    return Outcome(graph, ms, solver.call_count)


def _place_of(where: Sequence[Place], ends: Sequence[int], number: int) -> tuple[Place, int]:
    index = bisect_right(ends, number)
    return where[index], number - (ends[index - 1] if index else 0)


def _spelled(shape: Shape) -> str:
    return "x".join(map(str, shape))
