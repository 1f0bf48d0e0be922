"""What could stand at each site: the segment's own variants, and segments of the database.

Database segments are adapted to the site by the shape model first and ranked by the predictor
then, so that what is ranked is what would be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autogo_onnx import features
from autogo_onnx.cost import macs
from autogo_onnx.fitting.segment import tail_convolutions
from autogo_onnx.opgraph import OpGraph, cut
from autogo_onnx.predictor import Predictor
from autogo_onnx.segment_db.store import Store
from autogo_onnx.segments import Reading, Site
from autogo_onnx.shapes import Infeasible, adapt
from autogo_onnx.variants import WORTHWHILE, variants

LARGEST_SEGMENT = 8
PER_SITE = 4


@dataclass(frozen=True)
class Candidate:
    """A replacement for a site; `name` tells where it comes from."""

    site: Site
    graph: OpGraph
    name: str


class Catalogue:
    """The database's segments adapted to the sites of one model; for equal sites only once."""

    def __init__(self, reading: Reading, store: Store, predictor: Predictor) -> None:
        self.reading = reading
        self.predictor = predictor
        self.segments = [
            s
            for s in store.candidates(1, 1)
            if len(s.graph.ops) <= LARGEST_SEGMENT and _can_be_solved(s.graph)
        ]
        self._adapted: dict[OpGraph, list[tuple[str, OpGraph]]] = {}

    def candidates(self, site: Site) -> tuple[Candidate, ...]:
        """The segment's variants, then the database segments that the predictor ranks first."""
        own = [Candidate(site, v.graph, v.name) for v in variants(site.graph)]
        known = {c.graph for c in own} | {site.graph}
        fitting = [(n, g) for n, g in self._fitting(site.graph) if g not in known]
        return (*own, *(Candidate(site, g, n) for n, g in self._ranked(site, fitting)[:PER_SITE]))

    def _fitting(self, site: OpGraph) -> list[tuple[str, OpGraph]]:
        if site not in self._adapted:
            self._adapted[site] = list(self._adapt_all(site))
        return self._adapted[site]

    def _adapt_all(self, site: OpGraph) -> Iterator[tuple[str, OpGraph]]:
        limit = WORTHWHILE * macs(site)
        seen = set()
        for stored in self.segments:
            graph = adapt(stored.graph, site.input_shapes, site.output_shapes)
            if isinstance(graph, Infeasible) or graph in seen or macs(graph) > limit:
                continue
            seen.add(graph)
            yield f"db:{stored.id[:12]}", graph

    def _ranked(
        self, site: Site, graphs: Sequence[tuple[str, OpGraph]]
    ) -> list[tuple[str, OpGraph]]:
        """Best predicted change of accuracy first."""
        if not graphs:
            return []
        before, after = _surroundings(self.reading.opgraph, site)
        context = features.context(before, site.graph, after)
        predicted = self.predictor.compare(context, [g for _, g in graphs])
        return [graphs[i] for i in np.argsort(-predicted, kind="stable")]


def _can_be_solved(graph: OpGraph) -> bool:
    tail = tail_convolutions(graph)
    return bool(tail) and all(graph.ops[i].get("group") == 1 for i in tail)


def _surroundings(graph: OpGraph, site: Site) -> tuple[OpGraph, OpGraph]:
    """Predecessor and successor of a site: all operators before its last, and all after."""
    inside, last = set(site.cut.ops), site.cut.ops[-1]
    before = [i for i in range(last) if i not in inside]
    after = range(last + 1, len(graph.ops))
    return cut(graph, before).graph, cut(graph, after).graph
