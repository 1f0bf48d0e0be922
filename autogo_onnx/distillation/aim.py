"""Which saving to train back next: numbers in, numbers out.

How far a plan is beyond the gate is told by the logarithm of its figure over the limit: negative
passes. Fitted in closed form it rises with the saving; training takes about the same off it from
every plan. So the saving to try is the one where the closed form is off by that gain, which the
plans that were trained tell better each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FIRST_GAIN = float(np.log(4.0))
"""On Fashion-MNIST, training left between a sixth and a quarter of the expected loss."""
CLOSE_ENOUGH = 0.02
_MARGIN = 0.25
"""Of the bracket: no plan is tried nearer to its ends."""


@dataclass(frozen=True)
class Trial:
    """A plan: what it saves, how far it is beyond the gate, and how far once trained back."""

    saving: float
    excess: float
    trained: float | None = None


def next_saving(trials: Sequence[Trial], least: float, largest: float) -> float | None:
    """The saving to try next; None where no other one is worth it.

    Args:
        trials: what is known, plans that were not trained included.
        least: what is saved already within the gate, and
        largest: the most that can be saved.

    >>> known = [Trial(0.2, -0.1), Trial(0.6, 3.9)]
    >>> round(next_saving(known, 0.2, 0.6), 3)  # where 1.39 are to be made up for
    0.349
    >>> round(next_saving([*known, Trial(0.35, 1.4, 0.4)], 0.2, 0.6), 3)  # training gains 1.0
    0.31
    """
    taught = [(t, t.trained) for t in trials if t.trained is not None]
    low = max([least, *(t.saving for t, rest in taught if rest <= 0)])
    high = min([t.saving for t, rest in taught if rest > 0 and t.saving > low], default=largest)
    if high - low < CLOSE_ENOUGH:
        return None
    gain = float(np.mean([t.excess - rest for t, rest in taught])) if taught else FIRST_GAIN
    margin = _MARGIN * (high - low) if taught else CLOSE_ENOUGH
    ceiling = largest if high == largest else high - margin
    return min(max(_where(trials, gain), low + margin), ceiling)


def _where(trials: Sequence[Trial], excess: float) -> float:
    """The saving at which the closed form is off by so much, on lines through what is known."""
    points = sorted((t.saving, t.excess) for t in trials)
    savings = np.array([saving for saving, _ in points])
    values = np.maximum.accumulate([value for _, value in points])
    if len(points) > 1 and excess > values[-1] > values[0]:
        slope = (values[-1] - values[0]) / (savings[-1] - savings[0])
        return float(savings[-1] + (excess - values[-1]) / slope)
    return float(np.interp(excess, values, savings))
