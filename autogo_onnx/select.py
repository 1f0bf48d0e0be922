"""Which replacements to make together: a knapsack over sites that may not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Any

# Of the typical score, shared among the items; above the solver's tolerance, below what matters.
TIE_BREAK = 1e-5
# Savings are shares of a latency, so a billionth is nothing.
SLACK = 1e-9


@dataclass(frozen=True)
class Item:
    """One possible replacement.

    Attributes:
        ops: the operators it covers.
        saving: what it saves; an item that saves nothing is never chosen.
        score: what it costs in fidelity, not negative; an infinite one is never chosen.
    """

    ops: frozenset[int]
    saving: float
    score: float


def select(items: Sequence[Item], target: float, *, max_seconds: float = 20.0) -> tuple[int, ...]:
    """Indices of the items with the least summed score that save at least `target` together.

    Covers every operator at most once. Where the target is out of reach, the largest saving is
    taken. Equal scores are decided by the order of the items.

    >>> pair, half = Item(frozenset({0, 1}), 0.3, 1.0), Item(frozenset({1}), 0.2, 0.1)
    >>> select([pair, half], 0.1), select([pair, half], 0.25)
    ((1,), (0,))
    """
    usable = [i for i, item in enumerate(items) if _is_usable(item)]
    if not usable or target <= 0.0:
        return ()
    chosen = _select([items[i] for i in usable], target, max_seconds)
    return tuple(usable[i] for i in chosen)


def _is_usable(item: Item) -> bool:
    return item.saving > 0.0 and isfinite(item.score)


def _select(items: Sequence[Item], target: float, max_seconds: float) -> tuple[int, ...]:
    import mip

    goal = min(target, largest_saving(items, max_seconds=max_seconds)) - SLACK
    model, chosen = _conflicts(items)
    unit = median(item.score for item in items) or max(item.score for item in items) or 1.0
    model.objective = mip.minimize(
        mip.xsum(
            (item.score / unit + TIE_BREAK * i / len(items)) * x
            for i, (item, x) in enumerate(zip(items, chosen, strict=True))
        )
    )
    model += mip.xsum(i.saving * x for i, x in zip(items, chosen, strict=True)) >= goal
    model.optimize(max_seconds=max_seconds)
    return tuple(i for i, x in enumerate(chosen) if x.x is not None and x.x > 0.5)


def largest_saving(items: Sequence[Item], *, max_seconds: float = 20.0) -> float:
    """The largest saving that any set of usable items without overlap reaches."""
    import mip

    usable = [item for item in items if _is_usable(item)]
    if not usable:
        return 0.0
    model, chosen = _conflicts(usable)
    model.objective = mip.maximize(
        mip.xsum(item.saving * x for item, x in zip(usable, chosen, strict=True))
    )
    model.optimize(max_seconds=max_seconds)
    return float(model.objective_value or 0.0)


def _conflicts(items: Sequence[Item]) -> tuple[Any, list[Any]]:
    """A model with one binary per item and, per operator, at most one item that covers it."""
    import mip

    model = mip.Model(solver_name=mip.CBC)
    model.verbose = 0
    model.threads = 1
    model.seed = 0
    model.max_mip_gap = 0.0
    chosen = [model.add_var(f"x{i}", var_type=mip.BINARY) for i in range(len(items))]
    covers: dict[int, list[int]] = {}
    for i, item in enumerate(items):
        for op in item.ops:
            covers.setdefault(op, []).append(i)
    for op in sorted(covers):
        if len(covers[op]) > 1:
            model += mip.xsum(chosen[i] for i in covers[op]) <= 1
    return model, chosen
