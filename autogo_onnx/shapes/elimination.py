"""Cheapest values of some variables under tables of costs, one variable eliminated at a time.

The tables list only what is possible and stay small, so chains, residual and inception shapes
vanish in microseconds. A structure too entangled for this is left to a solver.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

_MOST_NEIGHBOURS = 3
_MOST_ROWS = 5000

V = TypeVar("V", bound=Hashable)
Rows = Mapping[tuple[V, ...], int]
Table = tuple[tuple[int, ...], Rows[V]]


class TooEntangled(Exception):
    """A variable has too many neighbours, or too many combinations to be listed."""


def cheapest(tables: Sequence[Table[V]]) -> dict[int, V] | None:
    """A value for every variable that the tables name; None when nothing satisfies all of them.

    Values of equal cost are chosen by the order of the values.

    Raises:
        TooEntangled: it would take too long.

    >>> cheapest([((0,), {(1,): 5, (2,): 0}), ((0, 1), {(1, 7): 0, (2, 8): 6})])
    {1: 7, 0: 1}
    """
    left = list(tables)
    order: list[tuple[int, tuple[int, ...], dict[tuple[V, ...], V]]] = []
    while scopes := [scope for scope, _ in left if scope]:
        number, neighbours = _next(scopes)
        mine = [table for table in left if number in table[0]]
        left = [table for table in left if number not in table[0]]
        table, choices = _eliminated(number, neighbours, mine)
        if not table:
            return None
        left.append((neighbours, table))
        order.append((number, neighbours, choices))
    values: dict[int, V] = {}
    for number, neighbours, choices in reversed(order):
        values[number] = choices[tuple(values[n] for n in neighbours)]
    return values


def _next(scopes: Sequence[tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    """The variable with the fewest neighbours, and these."""
    near: dict[int, set[int]] = {}
    for scope in scopes:
        for number in scope:
            near.setdefault(number, set()).update(scope)
    number = min(near, key=lambda n: (len(near[n]), n))
    if len(near[number]) > 1 + _MOST_NEIGHBOURS:
        raise TooEntangled
    return number, tuple(sorted(near[number] - {number}))


def _eliminated(
    number: int, neighbours: tuple[int, ...], tables: Sequence[Table[V]]
) -> tuple[dict[tuple[V, ...], int], dict[tuple[V, ...], V]]:
    """Cheapest cost over a variable's values for every combination of its neighbours' values."""
    scope, rows = tables[0]
    for table in tables[1:]:
        scope, rows = _joined((scope, rows), table)
    at = scope.index(number)
    places = [scope.index(n) for n in neighbours]
    best: dict[tuple[V, ...], tuple[int, V]] = {}
    for row, cost in rows.items():
        key, offer = tuple(row[place] for place in places), (cost, row[at])
        if key not in best or offer < best[key]:
            best[key] = offer
    return {k: cost for k, (cost, _) in best.items()}, {k: v for k, (_, v) in best.items()}


def _joined(first: Table[V], second: Table[V]) -> Table[V]:
    """The rows of two tables that agree on what they share, their costs added."""
    shared = [n for n in second[0] if n in first[0]]
    extra = [n for n in second[0] if n not in first[0]]
    by_shared: dict[tuple[V, ...], list[tuple[tuple[V, ...], int]]] = {}
    at, rest = [second[0].index(n) for n in shared], [second[0].index(n) for n in extra]
    for row, cost in second[1].items():
        key = tuple(row[place] for place in at)
        by_shared.setdefault(key, []).append((tuple(row[place] for place in rest), cost))
    places = [first[0].index(n) for n in shared]
    rows = {}
    for row, cost in first[1].items():
        for more, price in by_shared.get(tuple(row[place] for place in places), ()):
            rows[*row, *more] = cost + price
        if len(rows) > _MOST_ROWS:
            raise TooEntangled
    return (*first[0], *extra), rows
