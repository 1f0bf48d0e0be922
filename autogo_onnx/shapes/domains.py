"""Which sizes every size class can reach, and the cost tables between classes.

Arc consistency: sizes flow forward from the demanded inputs through every operator's options, and
what cannot reach a demanded output is taken out again. What is left is small, so that tables of
size combinations replace arithmetic in both solvers (the *levels* of the level formulation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from autogo_onnx.shapes.problem import Factor, Infeasible
from autogo_onnx.shapes.windows import Size

SizeMap = Callable[[Size], Size | None]


@dataclass(frozen=True)
class Transition:
    """An operator that changes the size: its options are pairs (cost, map)."""

    source: int
    target: int
    options: tuple[tuple[int, SizeMap], ...]
    name: str


@dataclass(frozen=True)
class Join:
    """A Concat along a spatial axis: lengths add up there and agree elsewhere."""

    parts: tuple[int, ...]
    target: int
    axis: int
    name: str


@dataclass(frozen=True)
class Sizes:
    """The size part of a problem, in topological order.

    Attributes:
        count: number of size classes.
        changes: operators that relate two or more classes.
        inputs: per boundary input its class and the sizes that any demand allows it.
        outputs: likewise.
        single: classes that must be 1 along every axis (the small side of a broadcast).
    """

    count: int
    changes: tuple[Transition | Join, ...]
    inputs: tuple[tuple[int, tuple[Size, ...]], ...]
    outputs: tuple[tuple[int, tuple[Size, ...]], ...]
    single: frozenset[int]


def reach(sizes: Sizes) -> tuple[tuple[tuple[Size, ...], ...], tuple[Factor, ...]] | Infeasible:
    """Domains of all classes and a factor per change, or which operator cannot be satisfied."""
    known: dict[int, set[Size]] = {}
    for number, allowed in sizes.inputs:
        _narrow(known, number, allowed)
    tables: list[dict[tuple[Size, ...], int]] = []
    for change in sizes.changes:
        scope = _classes(change)
        table = {row: c for row, c in _table(change, known).items() if _is_consistent(scope, row)}
        _narrow(known, _target(change), (row[-1] for row in table))
        if not known[_target(change)]:
            return Infeasible(_dead_end(change, known))
        tables.append(table)
    for port, (number, allowed) in enumerate(sizes.outputs):
        before = sorted(known[number])
        _narrow(known, number, allowed)
        if not known[number]:
            able, must = _text(before), _text(sorted(set(allowed)))
            return Infeasible(f"output {port} can be {able} but must be {must}")
    for number in sizes.single:
        _narrow(known, number, [s for s in known[number] if all(n == 1 for n in s)])
    return _prune(sizes, known, tables)


def _prune(
    sizes: Sizes, known: dict[int, set[Size]], tables: list[dict[tuple[Size, ...], int]]
) -> tuple[tuple[tuple[Size, ...], ...], tuple[Factor, ...]] | Infeasible:
    """Drop combinations with a size that some other operator ruled out, until nothing changes."""
    scopes = [_classes(change) for change in sizes.changes]
    changed = True
    while changed:
        changed = False
        for change, scope, table in zip(
            reversed(sizes.changes), reversed(scopes), reversed(tables), strict=True
        ):
            gone = [row for row in table if _is_ruled_out(scope, row, known)]
            for row in gone:
                del table[row]
            for position, number in enumerate(scope):
                before = len(known[number])
                _narrow(known, number, (row[position] for row in table))
                changed |= len(known[number]) < before
            if not table:
                return Infeasible(f"{change.name} has no size that its neighbours share")
    domains = tuple(tuple(sorted(known[number])) for number in range(sizes.count))
    if not all(domains):
        return Infeasible("one side of a broadcast cannot be 1 along every axis")
    return domains, tuple(_factor(*each) for each in zip(sizes.changes, tables, strict=True))


def _factor(change: Transition | Join, table: dict[tuple[Size, ...], int]) -> Factor:
    """The table over distinct classes (an operator inside a residual may return to its own)."""
    scope = _classes(change)
    first = [scope.index(number) for number in dict.fromkeys(scope)]
    rows = {tuple(row[position] for position in first): cost for row, cost in table.items()}
    return Factor(tuple(dict.fromkeys(scope)), rows, change.name)


def _is_ruled_out(
    scope: tuple[int, ...], row: tuple[Size, ...], known: dict[int, set[Size]]
) -> bool:
    return any(size not in known[number] for number, size in zip(scope, row, strict=True))


def _classes(change: Transition | Join) -> tuple[int, ...]:
    return (*_sources(change), _target(change))


def _is_consistent(scope: tuple[int, ...], row: tuple[Size, ...]) -> bool:
    """Whether a class that stands twice in the scope has one size."""
    return len(set(zip(scope, row, strict=True))) == len(set(scope))


def _sources(change: Transition | Join) -> tuple[int, ...]:
    return (change.source,) if isinstance(change, Transition) else change.parts


def _target(change: Transition | Join) -> int:
    return change.target


def _narrow(known: dict[int, set[Size]], number: int, allowed: Iterable[Size]) -> None:
    """Intersect a class's sizes with others; a class not seen yet takes them all."""
    sizes = set(allowed)
    known[number] = known[number] & sizes if number in known else sizes


def _table(change: Transition | Join, known: dict[int, set[Size]]) -> dict[tuple[Size, ...], int]:
    """Every combination of operand sizes and output size, with its cheapest option's cost."""
    costs: dict[tuple[Size, ...], int] = {}
    if isinstance(change, Join):
        for parts in product(*(sorted(known[c]) for c in change.parts)):
            total = _joined(parts, change.axis)
            if total is not None:
                costs[*parts, total] = 0
        return costs
    for size in sorted(known[change.source]):
        for cost, size_map in change.options:
            after = size_map(size)
            if after is not None:
                costs[size, after] = min(cost, costs.get((size, after), cost))
    return costs


def _joined(parts: Sequence[Size], axis: int) -> Size | None:
    """Size of a concatenation; None where the other axes differ."""
    others = {part[:axis] + part[axis + 1 :] for part in parts}
    if len(others) > 1:
        return None
    return (*parts[0][:axis], sum(part[axis] for part in parts), *parts[0][axis + 1 :])


def _dead_end(change: Transition | Join, known: dict[int, set[Size]]) -> str:
    reached = " with ".join(_text(sorted(known[c])) for c in _sources(change))
    return f"{change.name} cannot continue from {reached}"


def _text(sizes: Iterable[Size]) -> str:
    """`14x14 or 7x7`, at most three of them."""
    shown = ["x".join(map(str, size)) or "a vector" for size in sizes]
    return " or ".join(shown[:3]) + (" ..." if len(shown) > 3 else "") if shown else "nothing"
