"""Which sizes every size class can reach, and the cost tables between classes.

Arc consistency: sizes flow forward from the demanded inputs through every operator's options, and
what cannot reach a demanded output is taken out again. What is left is small, so that tables of
size combinations replace arithmetic in both solvers (the *levels* of the level formulation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from math import prod
from operator import sub

from autogo_onnx.shapes.problem import Factor, Infeasible
from autogo_onnx.shapes.windows import Size

SizeMap = Callable[[Size], Size | None]
Combine = Callable[[tuple[Size, ...]], Size | None]

_Known = dict[int, set[Size]]
_Table = dict[tuple[Size, ...], int]
_MOST_COMBINATIONS = 20_000
_MOST_SIZES = 500


@dataclass(frozen=True)
class Transition:
    """An operator that changes the size: its options are pairs (cost, map)."""

    source: int
    target: int
    options: tuple[tuple[int, SizeMap], ...]
    name: str

    @property
    def sources(self) -> tuple[int, ...]:
        """The classes that it reads."""
        return (self.source,)


@dataclass(frozen=True)
class Join:
    """An operator whose size follows from those of several operands, at no cost."""

    sources: tuple[int, ...]
    target: int
    combine: Combine
    name: str


@dataclass(frozen=True)
class Bound:
    """A boundary tensor: its size class, the sizes that any demand allows it, its name."""

    number: int
    allowed: tuple[Size, ...]
    name: str


@dataclass(frozen=True)
class Sizes:
    """The size part of a problem, in topological order.

    Attributes:
        count: number of size classes.
        changes: operators that relate two or more classes.
        inputs, outputs: the boundary.
        single: classes that must be 1 along every axis (the small side of a broadcast), with the
            name of who says so.
    """

    count: int
    changes: tuple[Transition | Join, ...]
    inputs: tuple[Bound, ...]
    outputs: tuple[Bound, ...]
    single: tuple[tuple[int, str], ...]


def reach(sizes: Sizes) -> tuple[tuple[tuple[Size, ...], ...], tuple[Factor, ...]] | Infeasible:
    """Domains of all classes and a factor per change, or which operator cannot be satisfied."""
    known: _Known = {}
    for bound in sizes.inputs:
        refusal = _narrowed(known, bound)
        if refusal:
            return refusal
    tables: list[_Table] = []
    for change in sizes.changes:
        refusal = _extended(known, tables, change)
        if refusal:
            return refusal
    for bound in sizes.outputs:
        refusal = _narrowed(known, bound)
        if refusal:
            return refusal
    for number, name in sizes.single:
        before = known[number]
        known[number] = {size for size in before if all(n == 1 for n in size)}
        if not known[number]:
            reason = f"{name}: the small side of the broadcast can only be {text(before)}"
            return Infeasible(reason, cause="sizes")
    return _pruned(sizes, known, tables)


def _narrowed(known: _Known, bound: Bound) -> Infeasible | None:
    """Keep what some demand allows; a class not seen yet takes all of it."""
    before = known.get(bound.number)
    known[bound.number] = set(bound.allowed) if before is None else before & set(bound.allowed)
    if known[bound.number]:
        return None
    able, must = text(_nearest(before or (), bound.allowed)), text(set(bound.allowed))
    return Infeasible(f"{bound.name} can be {able} but must be {must}", cause="sizes")


def _extended(known: _Known, tables: list[_Table], change: Transition | Join) -> Infeasible | None:
    """Add the table of an operator, and the sizes that it gives."""
    counts = [len(known[number]) for number in change.sources]
    if max(counts) > _MOST_SIZES or prod(counts) > _MOST_COMBINATIONS:
        reason = f"{change.name}: {prod(counts)} combinations of sizes are too many to look at"
        return Infeasible(reason, cause="effort")
    scope = (*change.sources, change.target)
    table = _table(change, known)
    if len(set(scope)) < len(scope):
        table = {row: cost for row, cost in table.items() if _is_consistent(scope, row)}
    made = {row[-1] for row in table}
    before = known.get(change.target)
    known[change.target] = made if before is None else before & made
    tables.append(table)
    if known[change.target]:
        return None
    reached = " with ".join(text(known[c] or before or ()) for c in change.sources)
    return Infeasible(f"{change.name} cannot continue from {reached}", cause="sizes")


def _pruned(
    sizes: Sizes, known: _Known, tables: list[_Table]
) -> tuple[tuple[tuple[Size, ...], ...], tuple[Factor, ...]] | Infeasible:
    """Drop combinations with a size that some other operator ruled out, until nothing changes."""
    scopes = [(*change.sources, change.target) for change in sizes.changes]
    changed = True
    while changed:
        changed = False
        for at in reversed(range(len(tables))):
            scope, made = scopes[at], {row[-1] for row in tables[at]}
            tables[at] = {
                row: cost
                for row, cost in tables[at].items()
                if all(size in known[number] for number, size in zip(scope, row, strict=True))
            }
            if not tables[at]:
                name, needed = sizes.changes[at].name, text(known[scope[-1]])
                reason = f"{name} can give {text(made)} but what shares its size needs {needed}"
                return Infeasible(reason, cause="sizes")
            for number, column in zip(scope, zip(*tables[at], strict=True), strict=True):
                left = known[number] & set(column)
                changed |= len(left) < len(known[number])
                known[number] = left
    domains = tuple(tuple(sorted(known[number])) for number in range(sizes.count))
    factors = zip(sizes.changes, scopes, tables, strict=True)
    return domains, tuple(_factor(change.name, scope, table) for change, scope, table in factors)


def _factor(name: str, scope: tuple[int, ...], table: _Table) -> Factor:
    """The table over distinct classes (an operator inside a residual may return to its own)."""
    distinct = tuple(dict.fromkeys(scope))
    if len(distinct) == len(scope):
        return Factor(scope, table, name)
    first = [scope.index(number) for number in distinct]
    rows = {tuple(row[position] for position in first): cost for row, cost in table.items()}
    return Factor(distinct, rows, name)


def _is_consistent(scope: tuple[int, ...], row: tuple[Size, ...]) -> bool:
    """Whether a class that stands twice in the scope has one size."""
    return len(set(zip(scope, row, strict=True))) == len(set(scope))


def _table(change: Transition | Join, known: _Known) -> _Table:
    """Every combination of operand sizes and output size, with its cheapest option's cost."""
    costs: _Table = {}
    if isinstance(change, Join):
        for parts in product(*(known[c] for c in change.sources)):
            total = change.combine(parts)
            if total is not None:
                costs[*parts, total] = 0
        return costs
    for size in known[change.source]:
        for cost, size_map in change.options:
            after = size_map(size)
            if after is not None:
                row = size, after
                costs[row] = min(cost, costs.get(row, cost))
    return costs


def _nearest(sizes: Iterable[Size], wanted: Iterable[Size]) -> list[Size]:
    """Sorted by the distance to the nearest that is wanted."""

    def distance(size: Size) -> int:
        others = [other for other in wanted if len(other) == len(size)]
        return min((sum(map(abs, map(sub, size, other))) for other in others), default=0)

    return sorted(sorted(sizes), key=distance)


def text(sizes: Iterable[Size]) -> str:
    """`14x14 or 7x7`, at most three of them; sets are sorted.

    >>> text({(7, 7), ()})
    'a vector or 7x7'
    """
    ordered = sizes if isinstance(sizes, list) else sorted(sizes)
    shown = ["x".join(map(str, size)) or "a vector" for size in ordered]
    return " or ".join(shown[:3]) + (" ..." if len(shown) > 3 else "") if shown else "nothing"
