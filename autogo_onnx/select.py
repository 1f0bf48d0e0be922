"""Which changes to make together: a knapsack whose items may exclude each other, or overlap."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Any

# Of the typical saving, shared among the items; above the solver's tolerance, below what matters.
TIE_BREAK = 1e-5
# Savings are shares of a latency, so a billionth is nothing.
SLACK = 1e-9

Overlaps = Mapping[tuple[int, int], float]
"""What two items, by index, save less together than each by itself."""
NONE: Overlaps = {}


@dataclass(frozen=True)
class Item:
    """One possible change.

    Attributes:
        ops: what it takes for itself, as the operators that a replacement covers: no two items that
            share any can be chosen together.
        saving: what it saves; an item that saves nothing is never chosen.
        score: what it costs in fidelity, not negative; an infinite one is never chosen.
    """

    ops: frozenset[Hashable]
    saving: float
    score: float


def select_within(
    items: Sequence[Item], score: float, overlaps: Overlaps = NONE, *, max_seconds: float = 20.0
) -> tuple[int, ...]:
    """Indices of the items that save most together and whose summed score is at most `score`.

    Equal savings are decided by the order of the items.

    >>> pair, half = Item(frozenset({0, 1}), 0.3, 1.0), Item(frozenset({1}), 0.2, 0.1)
    >>> select_within([pair, half], 0.5), select_within([pair, half], 1.0)
    ((1,), (0,))
    """
    usable = [i for i, item in enumerate(items) if _is_usable(item) and item.score <= score]
    if not usable:
        return ()
    problem = _Problem([items[i] for i in usable], _among(overlaps, usable), max_seconds)
    return tuple(usable[i] for i in problem.dearest(score))


def largest_saving(
    items: Sequence[Item], overlaps: Overlaps = NONE, *, max_seconds: float = 20.0
) -> float:
    """The largest saving that any set of usable items that fit together reaches."""
    usable = [i for i, item in enumerate(items) if _is_usable(item)]
    if not usable:
        return 0.0
    return _Problem([items[i] for i in usable], _among(overlaps, usable), max_seconds).most()


def _is_usable(item: Item) -> bool:
    return item.saving > 0.0 and isfinite(item.score)


def _among(overlaps: Overlaps, usable: Sequence[int]) -> dict[tuple[int, int], float]:
    """Those between usable items, by their place among them."""
    place = {index: k for k, index in enumerate(usable)}
    return {
        (place[i], place[j]): less
        for (i, j), less in overlaps.items()
        if less > 0.0 and i in place and j in place
    }


class _Problem:
    """Items that can all be chosen; the programs that choose some of them."""

    def __init__(self, items: Sequence[Item], overlaps: Overlaps, max_seconds: float) -> None:
        self.items, self.overlaps, self.max_seconds = items, overlaps, max_seconds

    def most(self) -> float:
        """The largest saving."""
        import mip

        model, _, saving = self._model()
        model.objective = mip.maximize(saving)
        model.optimize(max_seconds=self.max_seconds)
        return float(model.objective_value or 0.0)

    def dearest(self, score: float) -> tuple[int, ...]:
        """The items that save most and cost no more than a score; of equal ones the first."""
        import mip

        model, chosen, saving = self._model()
        order = TIE_BREAK * median(item.saving for item in self.items) / len(self.items)
        first = mip.xsum(order * i * x for i, x in enumerate(chosen))
        model.objective = mip.maximize(saving - first)
        costs = [
            (item.score / score) * x
            for item, x in zip(self.items, chosen, strict=True)
            if item.score
        ]
        if costs:  # CBC dies of a row of zeros.
            model += mip.xsum(costs) <= 1.0 + SLACK
        model.optimize(max_seconds=self.max_seconds)
        return tuple(i for i, x in enumerate(chosen) if x.x is not None and x.x > 0.5)

    def _model(self) -> tuple[Any, list[Any], Any]:
        """A model with one binary per item, these, and what they save together."""
        import mip

        model = mip.Model(solver_name=mip.CBC)
        model.verbose = 0
        model.threads = 1
        model.seed = 0
        model.max_mip_gap = 0.0
        chosen = [model.add_var(f"x{i}", var_type=mip.BINARY) for i in range(len(self.items))]
        takers: dict[Hashable, list[int]] = {}
        for i, item in enumerate(self.items):
            for op in item.ops:
                takers.setdefault(op, []).append(i)
        # Sorted, because what items take is a set, in no order that another process has too.
        for members in sorted({tuple(m) for m in takers.values() if len(m) > 1}):
            model += mip.xsum(chosen[i] for i in members) <= 1
        saving = mip.xsum(item.saving * x for item, x in zip(self.items, chosen, strict=True))
        for k, ((i, j), less) in enumerate(sorted(self.overlaps.items())):
            both = model.add_var(f"z{k}", lb=0.0)
            model += both >= chosen[i] + chosen[j] - 1
            saving -= less * both
        return model, chosen, saving
