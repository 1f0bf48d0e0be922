"""What could stand at each site: the segment's own variants, and segments of the database.

Database segments are adapted to the site by the shape model first and ranked by the predictor
then, so that what is ranked is what would be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from autogo_onnx import features
from autogo_onnx.cost import macs
from autogo_onnx.fitting.segment import tail_convolutions
from autogo_onnx.opgraph import OpGraph, Shape, cut
from autogo_onnx.part_features import Vector, describe
from autogo_onnx.predictor import Predictor
from autogo_onnx.segment_db.facts import Demand
from autogo_onnx.segment_db.store import Store, StoredSegment
from autogo_onnx.segments import Reading, Site
from autogo_onnx.shapes import Infeasible, adapt
from autogo_onnx.variants import WORTHWHILE, variants

LARGEST_SEGMENT = 8
PER_SITE = 4
# Segments that are adapted to a site, the most frequent first; each takes half a millisecond.
MOST_ADAPTED = 400
# What a fit can end in: a convolution, or the sum of several.
_MAKERS = ("Add", "Conv", "Sum")
_Boundary = tuple[tuple[Shape, ...], tuple[Shape, ...]]


@dataclass(frozen=True)
class Candidate:
    """A replacement for a site; `name` tells where it comes from."""

    site: Site
    graph: OpGraph
    name: str


@dataclass(frozen=True, eq=False)
class _Adapted:
    """A segment of the database in the boundary shapes of a site; counted once for all sites."""

    name: str
    graph: OpGraph

    @cached_property
    def macs(self) -> int:
        return macs(self.graph)

    @cached_property
    def numbers(self) -> Vector:
        """What the predictor sees of it."""
        return describe(self.graph)


class Catalogue:
    """The database's segments adapted to the sites of one model; for equal sites only once."""

    def __init__(self, reading: Reading, store: Store, predictor: Predictor) -> None:
        self.reading = reading
        self.store = store
        self.predictor = predictor
        self._fitting_of: dict[OpGraph, list[_Adapted]] = {}
        self._adapted: dict[_Boundary, dict[str, _Adapted | None]] = {}
        self._is_solvable: dict[str, bool] = {}

    def candidates(self, site: Site) -> tuple[Candidate, ...]:
        """The segment's variants, then the database segments that the predictor ranks first."""
        own = variants(site.graph)
        if site.graph not in self._fitting_of:
            known = {site.graph, *(variant.graph for variant in own)}
            self._fitting_of[site.graph] = list(self._adapt_all(site.graph, known))
        ranked = self._ranked(site, self._fitting_of[site.graph])[:PER_SITE]
        return (
            *(Candidate(site, variant.graph, variant.name) for variant in own),
            *(Candidate(site, adapted.graph, adapted.name) for adapted in ranked),
        )

    def _adapt_all(self, site: OpGraph, known: Set[OpGraph]) -> Iterator[_Adapted]:
        """Segments that can stand at a site and are worth their while, the most frequent first."""
        limit = WORTHWHILE * macs(site)
        demand = Demand(site.input_shapes, site.output_shapes, limit, LARGEST_SEGMENT, _MAKERS)
        solvable = filter(self._can_be_solved, self.store.candidates(demand))
        boundary = site.input_shapes, site.output_shapes
        seen = set(known)
        for stored in islice(solvable, MOST_ADAPTED):
            found = self._adapt(stored, boundary)
            if found is not None and found.macs <= limit and found.graph not in seen:
                seen.add(found.graph)
                yield found

    def _can_be_solved(self, stored: StoredSegment) -> bool:
        if stored.id not in self._is_solvable:
            self._is_solvable[stored.id] = _can_be_solved(stored.graph)
        return self._is_solvable[stored.id]

    def _adapt(self, stored: StoredSegment, boundary: _Boundary) -> _Adapted | None:
        """A segment in other shapes, None where it cannot have them; many sites have the same."""
        known = self._adapted.setdefault(boundary, {})
        if stored.id not in known:
            made = adapt(stored.graph, *boundary)
            name = f"db:{stored.id[:12]}"
            known[stored.id] = None if isinstance(made, Infeasible) else _Adapted(name, made)
        return known[stored.id]

    def _ranked(self, site: Site, fitting: Sequence[_Adapted]) -> list[_Adapted]:
        """Best predicted change of accuracy first."""
        if not fitting:
            return []
        before, after = surroundings(self.reading.opgraph, site)
        context = features.context(before, site.graph, after)
        numbers = np.stack([adapted.numbers for adapted in fitting])
        predicted = self.predictor.compare_parts(context, numbers)
        return [fitting[i] for i in np.argsort(-predicted, kind="stable")]


def _can_be_solved(graph: OpGraph) -> bool:
    tail = tail_convolutions(graph)
    return bool(tail) and all(graph.ops[i].get("group") == 1 for i in tail)


def surroundings(graph: OpGraph, site: Site) -> tuple[OpGraph, OpGraph]:
    """Predecessor and successor of a site: all operators before its last, and all after."""
    inside, last = set(site.cut.ops), site.cut.ops[-1]
    before = [i for i in range(last) if i not in inside]
    after = range(last + 1, len(graph.ops))
    return cut(graph, before).graph, cut(graph, after).graph
