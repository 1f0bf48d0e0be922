"""Which of several vertices that look alike comes first? An exactly canonical numbering.

Colours that refinement cannot split any further (Weisfeiler-Leman) still hold vertices together for
two reasons: because they are interchangeable, or because refinement is too weak to see that they
are not. Either way the vertices are numbered here such that isomorphic graphs, with their vertices
in whatever order, become equal:

1. Edges between two colours of which every pair is joined alike say nothing; they are dropped. What
   is left falls into parts, each numbered on its own and the parts ordered by their numbered edges.
   Parts with equal edges are interchangeable. Most graphs are done here: equal branches are parts.
2. In a part that does not fall apart, every vertex of one colour in turn is given a colour of its
   own, the colours are refined, and what they leave is numbered the same way. The numbering with
   the least edges is kept. Vertices that an automorphism takes to one tried before are not tried
   (B. D. McKay, A. Piperno: Practical graph isomorphism II, J. Symbolic Computation 60, 2014).

No method is known that is fast for all graphs. This one is bounded by `MOST_STEPS` and
`MOST_NESTED` of `refinement`, which only graphs made to defeat it reach: sums of all pairs of forty
tensors and random regular graphs of a thousand do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from autogo_onnx.ordering.automorphisms import Matcher, Orbits, Permutation
from autogo_onnx.ordering.refinement import (
    Colours,
    Edge,
    Label,
    Refinement,
    Trace,
    cells_of,
    target,
)

_Form = tuple[tuple[int, ...], tuple[tuple[int, int, Label], ...]]


def canonical_ranks(
    colours: Sequence[int], edges: Iterable[Edge], details: Mapping[int, str]
) -> list[int]:
    """For every vertex its place among all, by colour and between equals canonically.

    Args:
        colours: of every vertex; stable, so vertices of one colour have equally many edges of
            every label to every colour, and no edge joins two of them.
        edges: directed and labelled, several between two vertices if need be.
        details: of vertices that share a colour, where they differ; they decide only between
            numberings that are otherwise equal, so that what is joined to what does not depend on
            them.

    Raises:
        TooSymmetric: the bound was reached.

    >>> hexagon = [(v, 6 + e, 0) for e in range(6) for v in (e, (e + 1) % 6)]
    >>> ranks = canonical_ranks([0] * 6 + [1] * 6, hexagon, {})
    >>> other = [(5 - v, 17 - e, 0) for v, e, _ in hexagon]
    >>> again = canonical_ranks([0] * 6 + [1] * 6, other, {})
    >>> sorted((ranks[v], ranks[e]) for v, e, _ in hexagon) == sorted(
    ...     (again[v], again[e]) for v, e, _ in other
    ... )
    True
    """
    sizes = Counter(colours)
    tied = {vertex: colour for vertex, colour in enumerate(colours) if sizes[colour] > 1}
    ordered = _Numbering(Refinement(tied, edges), details).ordered(tied)
    order = [*ordered, *(vertex for vertex in range(len(colours)) if vertex not in tied)]
    ranks = [0] * len(colours)
    for rank, vertex in enumerate(sorted(order, key=colours.__getitem__)):
        ranks[vertex] = rank
    return ranks


@dataclass(frozen=True)
class _Numbered:
    """A part with its vertices in order.

    Attributes:
        form: colours in order, and edges by place; equal for isomorphic parts.
        details: what else decides between two of them.
        order: the vertices.
        automorphisms: some permutations that keep form and details.
    """

    form: _Form
    details: tuple[str, ...]
    order: tuple[int, ...]
    automorphisms: tuple[Permutation, ...] = ()


class _Numbering:
    """The numbering of one graph, by structure and then by details.

    Where a search is needed, its structure is searched first without any details. Only where a
    numbering may begin for all that matters to the structure do details choose.
    """

    def __init__(self, refinement: Refinement, details: Mapping[int, str]) -> None:
        self._refinement = refinement
        self._details = details
        self._matcher = Matcher(refinement, details)
        self._plain = _Numbering(refinement, {}) if details else None

    def ordered(self, colours: Colours) -> list[int]:
        """Vertices of colours that are no part, part by part."""
        parts = self._parts_in_order(self._refinement.parts(cells_of(colours)))
        return [vertex for part in parts for vertex in part.order]

    def _parts_in_order(self, parts: Iterable[Colours]) -> list[_Numbered]:
        return sorted(map(self._numbered, parts), key=_rank)

    def _numbered(self, colours: Colours) -> _Numbered:
        """A part numbered: by its colours as far as they go, by search where they do not."""
        cells = cells_of(colours)
        order = [cell[0] for _, cell in sorted(cells.items()) if len(cell) == 1]
        if len(order) == len(colours):
            return self._formed(colours, order)
        parts = self._refinement.parts(cells)
        inner = [self._searched(parts[0])] if len(parts) == 1 else self._parts_in_order(parts)
        automorphisms = [automorphism for part in inner for automorphism in part.automorphisms]
        automorphisms += [
            _swap(one, other) for one, other in pairwise(inner) if _rank(one) == _rank(other)
        ]
        order += [vertex for part in inner for vertex in part.order]
        return replace(self._formed(colours, order), automorphisms=tuple(automorphisms))

    def _searched(self, colours: Colours) -> _Numbered:
        """A part that does not fall apart numbered, beginning with a vertex of one colour."""
        candidates = target(colours)
        if self._plain and any(vertex in self._details for vertex in colours):
            tried = self._plain.tried(colours, candidates)
            least = min(numbered.form for numbered, _ in tried)
            equal = [v for numbered, orbit in tried if numbered.form == least for v in orbit]
            candidates = self._preferred(colours, equal)
        return min((numbered for numbered, _ in self.tried(colours, candidates)), key=_rank)

    def tried(
        self, colours: Colours, candidates: Sequence[int]
    ) -> list[tuple[_Numbered, list[int]]]:
        """Numberings that begin with each of some vertices, and which give the same numbering.

        Vertices with which no least numbering can begin are left out.
        """
        orbits = Orbits(candidates)
        least: Trace | None = None
        tried: dict[int, tuple[Colours, _Numbered]] = {}
        for vertex in candidates:
            if not orbits.is_new(vertex):
                continue
            refined, trace = self._refinement.singled_out(colours, vertex, least)
            if least is None or trace < least:
                least, tried = trace, {}
            elif trace > least:
                continue
            found = (self._matcher.find(before, refined) for before, _ in tried.values())
            automorphism = next((there for there in found if there is not None), None)
            if automorphism is not None:
                orbits.learn([automorphism])
                continue
            with self._refinement.nested():
                numbered = self._numbered(refined)
            orbits.learn(numbered.automorphisms)
            tried[vertex] = refined, self._formed(colours, numbered.order)
        automorphisms = tuple(orbits.automorphisms)
        return [
            (replace(numbered, automorphisms=automorphisms), orbits.orbit(vertex))
            for vertex, (_, numbered) in tried.items()
        ]

    def _preferred(self, colours: Colours, candidates: Sequence[int]) -> list[int]:
        """Of vertices of equal structure, those that details put first, as far as colours tell."""
        pairs = {v: (colour, self._details.get(v, "")) for v, colour in colours.items()}
        number = {pair: n for n, pair in enumerate(sorted(set(pairs.values())))}
        shades = {vertex: number[pair] for vertex, pair in pairs.items()}
        self._refinement.refine(shades, list(shades))
        least = min(shades[vertex] for vertex in candidates)
        left = [vertex for vertex in candidates if shades[vertex] == least]
        if len(left) == 1:
            return left
        traces = {vertex: self._refinement.singled_out(shades, vertex)[1] for vertex in left}
        return [vertex for vertex in left if traces[vertex] == min(traces.values())]

    def _formed(self, colours: Colours, order: Sequence[int]) -> _Numbered:
        """What a part looks like with its vertices in some order."""
        place = {vertex: n for n, vertex in enumerate(order)}
        edges = [
            (n, place[other], label)
            for vertex, n in place.items()
            for other, label in self._refinement.links[vertex].items()
            if other in place and not label[0]
        ]
        self._refinement.step(len(edges))
        form = tuple([colours[vertex] for vertex in order]), tuple(sorted(edges))
        details = tuple([self._details.get(vertex, "") for vertex in order])
        return _Numbered(form, details, tuple(order))


def _rank(numbered: _Numbered) -> tuple[_Form, tuple[str, ...]]:
    """What decides between two parts, or two orders of one part."""
    return numbered.form, numbered.details


def _swap(one: _Numbered, other: _Numbered) -> Permutation:
    """The automorphism that puts one part in the place of another, and the other way round."""
    there = dict(zip(one.order, other.order, strict=True))
    return there | {image: vertex for vertex, image in there.items()}
