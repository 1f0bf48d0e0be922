"""What realized plans tell of the figures that their parts were chosen by: numbers in, numbers out.

A plan's parts were priced and scored one by one. Made together they save and lose something else:
all by a common factor, and each by a factor of its own. The logarithm of a plan's figure over the
sum of its parts' is taken to be

    common + sum of (share of a part in that sum) * (logarithm of the part's factor) + noise,

with normal priors on all three: a Bayesian linear regression (Bishop, Pattern Recognition and
Machine Learning, 2006, 3.3). Drawing from its posterior (Thompson sampling) tries what is hardly
known now and then, and what disappointed no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Doubt:
    """How far figures are off: standard deviations of logarithms.

    Attributes:
        common: of the factor that all share.
        own: of each part's factor.
        noise: of a realized plan's figure.
    """

    common: float
    own: float
    noise: float


SAVINGS = Doubt(common=0.15, own=0.15, noise=0.04)
"""Parts are told by their operators, plans by a second of the whole."""
SCORES = Doubt(common=1.0, own=0.4, noise=0.2)
"""Summed scores of realized plans were 0.5 to 3.8 times what the outputs suffered."""


@dataclass(frozen=True)
class Shown:
    """One figure of a realized plan.

    Attributes:
        parts: numbers of what it is made of.
        promised: what these should come to together, above zero.
        shown: what they came to, above zero.
    """

    parts: tuple[int, ...]
    promised: float
    shown: float


def corrected(
    figures: Floats, plans: Sequence[Shown], doubt: Doubt, rng: np.random.Generator | None
) -> Floats:
    """The parts' figures after some plans: expected, or drawn from what is known of them.

    Args:
        figures: of the parts alone, float64[N]; those of parts of plans are finite.
        plans: realized; one at least.
        doubt: the priors.
        rng: draws; without one the figures are those expected (medians).

    Returns:
        float64[N]; the common factor is the expected one, which changes no order.
    """
    shares = np.zeros((len(plans), len(figures)))
    for row, plan in zip(shares, plans, strict=True):
        parts = list(plan.parts)
        row[parts] = figures[parts] / plan.promised
    surprises = np.log([plan.shown / plan.promised for plan in plans])
    own, common = doubt.own**2, doubt.common**2
    known = common + own * shares @ shares.T + doubt.noise**2 * np.eye(len(plans))
    gain = np.linalg.solve(known, np.column_stack([surprises, shares]))
    mean = common * gain[:, 0].sum() + own * shares.T @ gain[:, 0]
    if rng is not None:
        variance = own - own**2 * np.einsum("pn,pn->n", shares, gain[:, 1:])
        mean += np.sqrt(np.maximum(variance, 0.0)) * rng.standard_normal(len(figures))
    found: Floats = figures * np.exp(mean)
    return found
