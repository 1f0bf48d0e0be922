"""Sizes that are open, but have names: integers and products of unknown integers.

64 * n / 8 is known to be 8 * n, and equal products are equal sizes in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Atom(NamedTuple):
    """A size that nothing is known about: an axis of a tensor, or an element of its value."""

    tensor: str
    position: int
    is_dimension: bool


class Product(NamedTuple):
    """`coefficient` times all the atoms, which are sorted."""

    coefficient: int
    atoms: tuple[Atom, ...]

    @property
    def is_dimension(self) -> bool:
        """Whether it is certain to be zero or more."""
        return self.coefficient > 0 and all(atom.is_dimension for atom in self.atoms)


Size = int | Product
Sizes = tuple[Size, ...]


def atoms(size: Size) -> frozenset[Atom]:
    """The open sizes in a size; it is zero only where one of these is."""
    return frozenset() if isinstance(size, int) else frozenset(size.atoms)


def times(sizes: Sequence[Size]) -> Size:
    """The product of sizes."""
    coefficient = 1
    factors: list[Atom] = []
    for size in sizes:
        if isinstance(size, int):
            coefficient *= size
        else:
            coefficient *= size.coefficient
            factors.extend(size.atoms)
    return _product(coefficient, factors)


def divided(dividend: Size, divisor: Size) -> Size | None:
    """The quotient where it is exact for every value of the atoms (zero divisors apart)."""
    (top, above), (bottom, below) = _parts(dividend), _parts(divisor)
    if bottom == 0 or top % bottom:
        return None
    left = list(above)
    for atom in below:
        if atom not in left:
            return None
        left.remove(atom)
    return _product(top // bottom, left)


def constant_target(source: Sizes, result: Sizes, guard: frozenset[Atom]) -> list[int] | None:
    """A constant that makes Reshape turn `source` into `result`, whatever the open sizes are.

    With -1 in the target, ONNX Runtime refuses a tensor whose *other* sizes are zero. So -1 stands
    beside positive numbers only, or beside sizes whose being zero was an error before, too.

    Args:
        source: sizes of the data.
        result: sizes to get.
        guard: open sizes that were never zero in a successful run.
    """
    opened = [k for k, size in enumerate(result) if not isinstance(size, int)]
    if any(size == 0 for size in result):
        return None  # in a target 0 means: as in the source
    target = [size if isinstance(size, int) else -1 for size in result]
    if len(opened) <= 1:
        return target
    kept = [k for k in opened if k < len(source) and source[k] == result[k]]
    for k in kept:
        target[k] = 0
    if len(kept) == len(opened):
        return target
    is_safe = all(atoms(result[k]) <= guard for k in kept)
    return target if len(kept) == len(opened) - 1 and is_safe else None


def _parts(size: Size) -> tuple[int, tuple[Atom, ...]]:
    return (size, ()) if isinstance(size, int) else (size.coefficient, size.atoms)


def _product(coefficient: int, factors: Sequence[Atom]) -> Size:
    return Product(coefficient, tuple(sorted(factors))) if factors and coefficient else coefficient
