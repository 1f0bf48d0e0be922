"""All cells of NAS-Bench-101, one code each.

Cells are the same when an order of their vertices makes them so. As in the published enumeration
(github.com/google-research/nasbench, nasbench/scripts/generate_graphs.py) the one with the smallest
matrix, read as a number column by column, stands for all, then that with the first operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations, product

import numpy as np

OPERATIONS = ("conv3x3", "conv1x1", "maxpool3x3")
MOST_VERTICES = 7
MOST_EDGES = 9


def distinct() -> Iterator[str]:
    """The codes of all 423,624 cells, small ones first; takes about a second.

    >>> from itertools import islice
    >>> list(islice(distinct(), 4))
    ['1:', '101:conv3x3', '101:conv1x1', '101:maxpool3x3']
    """
    texts = {
        interior: [
            (numbers, "-".join(OPERATIONS[number] for number in numbers))
            for numbers in product(range(len(OPERATIONS)), repeat=interior)
        ]
        for interior in range(MOST_VERTICES - 1)
    }
    for structure in _structures():
        for numbers, text in texts[structure.interior]:
            if all(numbers <= tuple(numbers[v] for v in s) for s in structure.symmetries):
                yield f"{structure.bits}:{text}"


@dataclass(frozen=True)
class _Structure:
    """A cell without operations.

    Attributes:
        bits: its matrix, as in a code.
        interior: number of interior vertices.
        symmetries: other orders of the interior vertices, from 0, that give the same matrix.
    """

    bits: str
    interior: int
    symmetries: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=1)
def _structures() -> tuple[_Structure, ...]:
    return tuple(
        structure for size in range(2, MOST_VERTICES + 1) for structure in _structures_of(size)
    )


def _structures_of(size: int) -> Iterator[_Structure]:
    """The least matrix of every class of cells of `size` vertices."""
    pairs = list(combinations(range(size), 2))
    seen = set()
    for matrix in _matrices(size):
        if matrix in seen:
            continue
        edges = [pair for pair in pairs if matrix >> _bit(*pair) & 1]
        symmetries = []
        for order in permutations(range(size - 2)):
            place = (0, *(v + 1 for v in order), size - 1)
            if all(place[begin] < place[end] for begin, end in edges):
                image = sum(1 << _bit(place[begin], place[end]) for begin, end in edges)
                seen.add(image)
                if image == matrix and order != tuple(range(size - 2)):
                    symmetries.append(order)
        bits = "".join(str(matrix >> _bit(*pair) & 1) for pair in pairs)
        yield _Structure(bits, size - 2, tuple(symmetries))


def _matrices(size: int) -> list[int]:
    """Matrices of at most nine edges in which every vertex is on a path from first to last."""
    pairs = list(combinations(range(size), 2))
    found = np.arange(1 << len(pairs), dtype=np.int32)
    for side, vertices in enumerate((range(size - 1), range(1, size))):
        for vertex in vertices:
            beside = sum(1 << _bit(*pair) for pair in pairs if pair[side] == vertex)
            found = found[found & beside != 0]
    edges = sum(found >> bit & 1 for bit in range(len(pairs)))
    return [int(matrix) for matrix in found[edges <= MOST_EDGES]]


def _bit(begin: int, end: int) -> int:
    """Position of an edge in a matrix that is read as a number."""
    return begin + end * (end - 1) // 2
