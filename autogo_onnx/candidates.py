"""What could stand at each site: the segment's own variants, and segments of the database.

Database segments are adapted to the site by the shape model first and ranked by the predictor
then, so that what is ranked is what would be used. They are ranked by the error that their fit is
expected to leave: what accuracy they would reach if they were trained tells nothing of that
(`docs/measured.md`), and is the judge only where the predictor cannot tell errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from autogo_onnx import features
from autogo_onnx.cost import macs
from autogo_onnx.features import Network, Vector, describe
from autogo_onnx.fit_order import layers
from autogo_onnx.fitting.segment import tail_convolutions
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.predictor import ERROR, Predictor
from autogo_onnx.segment_db.facts import Demand
from autogo_onnx.segment_db.store import Store, StoredSegment
from autogo_onnx.segments import Reading, Site
from autogo_onnx.shapes import Infeasible, adapt
from autogo_onnx.variants import WORTHWHILE, Widths, rounded_widths, variants

LARGEST_SEGMENT = 8
PER_SITE = 4
# Segments that are adapted to a site, the most frequent first; each takes half a millisecond.
MOST_ADAPTED = 400
# What a fit can end in: a convolution, or the sum of several.
_MAKERS = ("Add", "Conv", "Sum")
_Boundary = tuple[tuple[Shape, ...], tuple[Shape, ...]]


@dataclass(frozen=True)
class Candidate:
    """A replacement for a site.

    Attributes:
        site: what is replaced.
        graph: by what.
        name: where that comes from.
        expected_error: log10 of the error that its fit is expected to leave; None where the
            predictor does not tell.
    """

    site: Site
    graph: OpGraph
    name: str
    expected_error: float | None = None


@dataclass(frozen=True, eq=False)
class _Adapted:
    """A segment in the boundary shapes of a site; counted and described once for all sites."""

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

    def __init__(
        self,
        reading: Reading,
        store: Store,
        predictor: Predictor,
        per_site: int | None = PER_SITE,
        widths: Widths = rounded_widths,
    ) -> None:
        """Nothing is adapted yet.

        Args:
            reading: of the model.
            store, predictor: the segments, and what ranks them.
            per_site: segments of the database per site; None: all that fit.
            widths: of the segment's own variants, see `variants`.
        """
        self.reading = reading
        self.widths = widths
        self.per_site = per_site
        self.store = store
        self.predictor = predictor
        self._network = Network(reading.opgraph)
        self._own_of: dict[OpGraph, list[_Adapted]] = {}
        self._fitting_of: dict[OpGraph, list[_Adapted]] = {}
        self._adapted: dict[_Boundary, dict[str, _Adapted | None]] = {}
        self._is_solvable: dict[str, bool] = {}

    def candidates(self, site: Site) -> tuple[Candidate, ...]:
        """The segment's variants, then the database segments that the predictor ranks first."""
        if site.graph not in self._own_of:
            found = variants(site.graph, self.widths)
            own = [_Adapted(variant.name, variant.graph) for variant in found]
            known = {site.graph, *(variant.graph for variant in own)}
            self._own_of[site.graph] = own
            self._fitting_of[site.graph] = list(self._adapt_all(site.graph, known))
        own, stored = self._own_of[site.graph], self._fitting_of[site.graph]
        context = self._network.site(site.cut.ops)
        best = [stored[i] for i in self._ranked(site, context, stored)[: self.per_site]]
        chosen = [*own, *best]
        errors = self._expected_errors(context, chosen)
        return tuple(
            Candidate(site, one.graph, one.name, error)
            for one, error in zip(chosen, errors, strict=True)
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

    def _ranked(
        self, site: Site, context: features.Context, stored: Sequence[_Adapted]
    ) -> list[int]:
        """Numbers of the segments, the most promising first.

        First those that no other beats, with as much saved and a smaller error expected; or, where
        the predictor does not tell errors, the best predicted change of accuracy.
        """
        if not stored:
            return []
        if ERROR not in self.predictor.heads():
            numbers = np.stack([one.numbers for one in stored])
            change = self.predictor.compare_parts(context, numbers).mean
            return [int(i) for i in np.argsort(-change, kind="stable")]
        errors = np.array(self._expected_errors(context, stored), np.float64)
        savings = macs(site.graph) - np.array([one.macs for one in stored], np.float64)
        beaten = layers([0] * len(stored), savings, errors)
        return [int(i) for i in np.lexsort((errors, beaten))]

    def _expected_errors(
        self, context: features.Context, chosen: Sequence[_Adapted]
    ) -> list[float] | list[None]:
        """log10 of the error of each one's fit."""
        if not chosen or ERROR not in self.predictor.heads():
            return [None] * len(chosen)
        numbers = np.stack([one.numbers for one in chosen])
        rows = features.rows_of_parts(context, numbers)
        return [float(error) for error in self.predictor.predict(rows, ERROR).mean]


def _can_be_solved(graph: OpGraph) -> bool:
    tail = tail_convolutions(graph)
    return bool(tail) and all(graph.ops[i].get("group") == 1 for i in tail)
