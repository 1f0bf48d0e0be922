"""Ways through a part of a network, from its inputs to its outputs, as one vector of numbers.

| column | what |
| --- | --- |
| `<step>_path_{min,max,mean}` | operators of the kind on a way |
| `<kinds>_ways_steps_{min,max}` | steps of a way that takes steps of these kinds only |
| `<kinds>_ways_joins_{min,max}` | operators with several operands on such a way |
| `<kinds>_ways_log2` | log2(1 + number of such ways) |

A step is an operator that is *pointwise* (a convolution of one pixel, a matrix product), *spatial*
(a wider convolution) or a *pool*; everything else may stand on any way. `<kinds>` is one of the
eight subsets of the three, `plain` the empty one. Such lengths tell architectures apart where
counts of operators do not (Kadlecova et al., GRAF, 2024). `weighted` and `activation` count these
operators. `receptive` is no count: it is the growth of the receptive field, in sides of the image.
Where there is no way, lengths of ways are `NO_WAY` and everything else is 0.

The mean is over a random walk back from the outputs, each operand equally likely, or ahead from the
inputs, each reader equally likely (the two agree where a part has one way).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from math import inf, log2
from operator import add, mul

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

KINDS = ("pointwise", "spatial", "pool")
STEPS = (*KINDS, "weighted", "activation", "receptive")
SUBSETS = tuple(chain.from_iterable(combinations(range(3), size) for size in range(4)))
NO_WAY = -1.0
"""Stands for a length where no way takes these steps only."""

_NAMES = tuple("_".join(KINDS[kind] for kind in subset) or "plain" for subset in SUBSETS)
_ALL = (
    *(f"{name}_path_min" for name in STEPS),
    *(f"{name}_ways_steps_min" for name in _NAMES),
    *(f"{name}_ways_joins_min" for name in _NAMES),
    *(f"{name}_path_max" for name in STEPS),
    *(f"{name}_ways_steps_max" for name in _NAMES),
    *(f"{name}_ways_joins_max" for name in _NAMES),
    *(f"{name}_path_mean" for name in STEPS),
    *(f"{name}_ways_log2" for name in _NAMES),
)
# A way without steps has no steps: their number says nothing.
_KEPT = np.array([n for n, name in enumerate(_ALL) if not name.startswith("plain_ways_steps")])
COLUMNS = tuple(_ALL[n] for n in _KEPT)
ALL_WAYS = f"{_NAMES[-1]}_ways_log2"
PATHS = tuple(f"{name}_path_{way}" for way in ("min", "max", "mean") for name in STEPS)

# A state is what is known of the ways to a tensor. Its lengths are [least | -largest | mean], so
# that where tensors meet one minimum serves for both; infinite where there is no way.
_LEAST = len(STEPS) + 2 * len(SUBSETS)
_MEAN = 2 * _LEAST
WIDTH = _MEAN + len(STEPS)
Counts = tuple[int, ...]
State = tuple[Vector, Counts]
ONE_WAY: Counts = (1,) * len(SUBSETS)
NO_WAYS: Counts = (0,) * len(SUBSETS)
NOWHERE: State = (np.zeros(WIDTH), ONE_WAY)
"""A way of no steps."""
NO_WAY_AT_ALL: State = (np.full(WIDTH, inf), NO_WAYS)

_IS_LENGTH_OF_WAYS = np.array(["_ways_" in name and not name.endswith("log2") for name in COLUMNS])
_IS_COUNT = np.array([name.endswith("_ways_log2") for name in COLUMNS])
_INSTEAD = np.where(_IS_LENGTH_OF_WAYS, NO_WAY, 0.0)
_SUBSET_OF_LENGTH = np.array(
    [_NAMES.index(name.partition("_ways_")[0]) for name in np.array(COLUMNS)[_IS_LENGTH_OF_WAYS]]
)
_RECEPTIVE = [n for n, name in enumerate(COLUMNS) if name.startswith("receptive")]


@dataclass(frozen=True, eq=False)
class Step:
    """What an operator adds to the ways through it; equal steps are one object.

    Attributes:
        kind: its number in `KINDS`; None for an operator that may stand on any way.
        lengths: float64[WIDTH], added to a state's.
        allowed: 1 for the subsets of kinds whose ways may take it; None for all.
    """

    kind: int | None
    lengths: Vector
    allowed: Counts | None

    def added(self, state: State) -> State:
        """The ways of a state with this step more."""
        lengths, counts = state
        if self.allowed is not None:
            counts = tuple(map(mul, counts, self.allowed))
        return lengths + self.lengths, counts


@lru_cache(maxsize=1 << 14)
def step(kind: int | None, *, weighted: bool, activation: bool, growth: float, joins: bool) -> Step:
    """The step of an operator.

    Args:
        growth: of the receptive field, in sides of the operator's input.
        joins: it has several operands.
    """
    counted = [float(kind == k) for k in range(len(KINDS))]
    path = [*counted, float(weighted), float(activation), growth]
    allowed = tuple(int(kind is None or kind in subset) for subset in SUBSETS)
    steps = [float(kind is not None) if yes else inf for yes in allowed]
    met = [float(joins) if yes else inf for yes in allowed]
    negative = [-length if length < inf else inf for length in (*path, *steps, *met)]
    lengths = np.array([*path, *steps, *met, *negative, *path])
    return Step(kind, lengths, None if all(allowed) else allowed)


def meet(states: Sequence[State]) -> State:
    """The ways of several states as one state."""
    if len(states) == 1:
        return states[0]
    known = [state for state in states if state[1][-1]]
    if not known:
        return NO_WAY_AT_ALL
    met, counts = known[0]
    if len(known) == 1:
        return met, counts
    mean = met[_MEAN:]
    for lengths, more in known[1:]:
        met = np.minimum(met, lengths)
        mean = mean + lengths[_MEAN:]
        counts = tuple(map(add, counts, more))
    np.divide(mean, len(known), out=met[_MEAN:])
    return met, counts


def numbers(state: State) -> Vector:
    """A state as the numbers of `COLUMNS`."""
    lengths, counts = state
    found: Vector = np.empty(len(_ALL))
    found[:_LEAST] = lengths[:_LEAST]
    np.subtract(0.0, lengths[_LEAST:_MEAN], out=found[_LEAST:_MEAN])
    found[_MEAN:WIDTH] = lengths[_MEAN:]
    found[WIDTH:] = [log2(1 + count) for count in counts]
    found = found[_KEPT]
    infinite = np.isinf(found)
    if infinite.any():
        found[infinite] = _INSTEAD[infinite]
    return found


def in_sides(found: Vector, factor: float | Vector) -> Vector:
    """The numbers with the receptive field's growth in another unit; factors may be [N,1]."""
    scaled = found.copy()
    scaled[..., _RECEPTIVE] *= factor
    return scaled


def in_a_row(parts: Sequence[Vector]) -> Vector:
    """The numbers of parts that follow one another, float64[N,W] each; numbers of ways multiply."""
    stacked = np.stack(parts)
    summed: Vector = stacked.sum(axis=0)
    counts = stacked[..., _IS_COUNT]
    is_none = (counts == 0).any(axis=0)
    # Amounts are stored as log2(1 + amount), some far beyond a float's range.
    exact = np.log2(np.maximum(np.exp2(np.minimum(counts, 50)) - 1, 1))
    product = np.where(counts < 50, exact, counts).sum(axis=0)
    summed[:, _IS_COUNT] = np.where(is_none, 0.0, np.logaddexp2(0.0, product))
    lengths = summed[:, _IS_LENGTH_OF_WAYS]
    summed[:, _IS_LENGTH_OF_WAYS] = np.where(is_none[:, _SUBSET_OF_LENGTH], NO_WAY, lengths)
    return summed
