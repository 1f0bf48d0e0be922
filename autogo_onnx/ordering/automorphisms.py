"""Permutations that change nothing: what one vertex has told need not be asked of its images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autogo_onnx.ordering.refinement import Cells, Colours, Refinement, cells_of, target

Permutation = dict[int, int]


class Matcher:
    """Looks for permutations that keep colours, edges and details."""

    def __init__(self, refinement: Refinement, details: Mapping[int, str]) -> None:
        self._refinement = refinement
        self._details = details

    def find(self, one: Colours, other: Colours) -> Permutation | None:
        """A permutation that takes one colouring of a part to another; None if none is found.

        None may be returned although there is one: the caller then has more to look at.
        """
        there = self._match(one, other)
        return there if there is not None and self._keeps_links(there) else None

    def _match(self, one: Colours, other: Colours) -> Permutation | None:
        """A bijection that keeps colours and details, part by part."""
        cells, others = cells_of(one), cells_of(other)
        if _sizes(cells) != _sizes(others):
            return None
        there = {cell[0]: others[c][0] for c, cell in cells.items() if len(cell) == 1}
        if not all(self._are_alike(v, w) for v, w in there.items()):
            return None
        if len(there) == len(one):
            return there
        parts = self._refinement.parts(cells)
        left = self._refinement.parts(others)
        if len(parts) == len(left) == 1:
            found = self._search(parts[0], left[0])
            return None if found is None else there | found
        for part in parts:
            for number, candidate in enumerate(left):
                if (found := self._match(part, candidate)) is not None:
                    there |= found
                    del left[number]
                    break
            else:
                return None
        return there

    def _search(self, one: Colours, other: Colours) -> Permutation | None:
        """The same where colours do not go far enough: by way of one vertex and its image."""
        refined, trace = self._refinement.singled_out(one, target(one)[0])
        for candidate in target(other):
            other_refined, other_trace = self._refinement.singled_out(other, candidate)
            if trace == other_trace:
                with self._refinement.nested():
                    found = self._match(refined, other_refined)
                if found is not None:
                    return found
        return None

    def _are_alike(self, one: int, other: int) -> bool:
        return self._details.get(one) == self._details.get(other)

    def _keeps_links(self, there: Permutation) -> bool:
        for vertex, image in there.items():
            links = self._refinement.links[image]
            for other, label in self._refinement.links[vertex].items():
                if other in there and links.get(there[other]) != label:
                    return False
        self._refinement.step(len(there))
        return True


class Orbits:
    """Which vertices of a cell known automorphisms take to one another.

    Attributes:
        automorphisms: all that were learned.
    """

    def __init__(self, cell: Sequence[int]) -> None:
        self._leader = {vertex: vertex for vertex in cell}
        self._seen: set[int] = set()
        self.automorphisms: list[Permutation] = []

    def is_new(self, vertex: int) -> bool:
        """Has none of its orbit been asked for before?"""
        leader = self._find(vertex)
        new = leader not in self._seen
        self._seen.add(leader)
        return new

    def orbit(self, vertex: int) -> list[int]:
        """The vertices that this one can be taken to."""
        return [other for other in self._leader if self._find(other) == self._find(vertex)]

    def learn(self, automorphisms: Iterable[Permutation]) -> None:
        """Join the orbits of vertices and their images."""
        for automorphism in automorphisms:
            self.automorphisms.append(automorphism)
            for vertex in self._leader:
                one, other = self._find(vertex), self._find(automorphism.get(vertex, vertex))
                self._leader[other] = one
                if other in self._seen:
                    self._seen.add(one)

    def _find(self, vertex: int) -> int:
        leader = self._leader
        while leader[vertex] != vertex:
            leader[vertex] = leader[leader[vertex]]  # halves the way for the next one
            vertex = leader[vertex]
        return vertex


def _sizes(cells: Cells) -> dict[int, int]:
    return {colour: len(cell) for colour, cell in cells.items()}
