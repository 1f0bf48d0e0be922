"""Which cells of NAS-Bench-101 are the same, and which differ at one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, groupby, permutations, product

from autogo_onnx.predictor_training.labels.neighbours import Neighbours
from autogo_onnx.segment_db.families.nasbench101 import Cell, parse

_ANY = "any"


@lru_cache(maxsize=1 << 13)
def network(code: str) -> str:
    """A text that is equal for cells of which one is another order of the other's vertices.

    >>> network("110101:conv3x3-maxpool3x3") == network("110101:maxpool3x3-conv3x3")
    False
    >>> network("110011:conv3x3-maxpool3x3") == network("110011:maxpool3x3-conv3x3")
    True
    """
    return _network(parse(code))


def near(codes: Sequence[str]) -> Neighbours:
    """The cells that another operation of one vertex, or one edge more or less, makes."""
    cells = [parse(code) for code in codes]
    number = {network(code): index for index, code in enumerate(codes)}
    found: list[set[int]] = [set() for _ in cells]
    alike: dict[str, list[int]] = {}
    for index, cell in enumerate(cells):
        for other in {_network(c) for c in _with_any_operation(cell)}:
            alike.setdefault(other, []).append(index)
        for less in _with_an_edge_less(cell):
            if (other_index := number.get(_network(less), index)) != index:
                found[index].add(other_index)
                found[other_index].add(index)
    for group in alike.values():
        for index in group:
            found[index].update(other for other in group if other != index)
    return tuple(tuple(sorted(others)) for others in found)


def _with_any_operation(cell: Cell) -> Iterator[Cell]:
    for vertex in range(len(cell.operations)):
        operations = (*cell.operations[:vertex], _ANY, *cell.operations[vertex + 1 :])
        yield Cell(cell.edges, operations)


def _with_an_edge_less(cell: Cell) -> Iterator[Cell]:
    """Cells without one edge and without the vertices that are then on no path."""
    for edge in cell.edges:
        edges = {e for e in cell.edges if e != edge}
        reached, used = {0}, {cell.output}
        for begin, end in sorted(edges):
            if begin in reached:
                reached.add(end)
        for begin, end in sorted(edges, key=lambda e: (-e[1], e)):
            if end in used:
                used.add(begin)
        kept = sorted(reached & used)
        if 0 not in kept or cell.output not in kept:
            continue
        place = {vertex: index for index, vertex in enumerate(kept)}
        yield Cell(
            tuple(sorted((place[b], place[e]) for b, e in edges if b in place and e in place)),
            tuple(cell.operations[vertex - 1] for vertex in kept[1:-1]),
        )


def _network(cell: Cell) -> str:
    """The least way to write the cell among orders of its vertices by what is around them."""
    kinds = ("", *cell.operations, "")
    ranks = _ranks(cell)
    order = sorted(range(len(kinds)), key=ranks.__getitem__)
    groups = [tuple(group) for _, group in groupby(order, key=ranks.__getitem__)]
    written = []
    for choice in product(*(permutations(group) for group in groups)):
        vertices = tuple(chain.from_iterable(choice))
        place = {vertex: index for index, vertex in enumerate(vertices)}
        edges = sorted(place[begin] * len(kinds) + place[end] for begin, end in cell.edges)
        written.append((edges, [kinds[vertex] for vertex in vertices]))
    return repr(min(written))


def _ranks(cell: Cell) -> list[int]:
    """A number per vertex that does not depend on the order; equal only where little tells apart.

    Vertices are told apart by operation, then again and again by those before and after them.
    """
    kinds = ("input", *cell.operations, "output")
    before, after = (
        [cell.before(v) for v in range(len(kinds))],
        [cell.after(v) for v in range(len(kinds))],
    )
    known = sorted(set(kinds))
    ranks = [known.index(kind) for kind in kinds]
    while True:
        seen = [
            (ranks[v], sorted(ranks[b] for b in before[v]), sorted(ranks[a] for a in after[v]))
            for v in range(len(kinds))
        ]
        distinct = [key for key, _ in groupby(sorted(seen))]
        refined = [distinct.index(key) for key in seen]
        if len(distinct) == len(set(ranks)):
            return refined
        ranks = refined
