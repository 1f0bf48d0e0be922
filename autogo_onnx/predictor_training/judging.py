"""How well values rank networks: over a family, among neighbours, and with what certainty."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.predictor_training.labels import FAMILIES, Labels
from autogo_onnx.predictor_training.network_rows import Site

Floats = NDArray[np.float64]

Change = Callable[[Sequence[Site], Sequence[Site]], Floats]
"""Predicts the change from each network of the first list to that of the second; float64[N]."""

PARENTS, FEWEST_CHILDREN = 300, 5
_ONE_DEVIATION = 0.683
"""Share of normal errors within one deviation."""


@dataclass(frozen=True)
class Rewrites:
    """A network and the neighbours that it may become, each at the place where they differ.

    Attributes:
        parent: the network's number.
        children: the neighbours' numbers.
        before, after: the parent and the child at that place, a site each per child.
    """

    parent: int
    children: tuple[int, ...]
    before: tuple[Site, ...]
    after: tuple[Site, ...]


@dataclass(frozen=True)
class NeighbourFigures:
    """Means over parents; the figures are nan where there are none.

    Attributes:
        parents: how many networks had enough neighbours.
        spearman, median: rank correlation within the neighbours of a parent.
        regret: how far the predicted best neighbour lies below the best, in the labels' unit.
        random_regret: the same for a neighbour chosen at random.
    """

    parents: int
    spearman: float
    median: float
    regret: float
    random_regret: float


@dataclass(frozen=True)
class Calibration:
    """How far the deviations can be believed.

    Attributes:
        within_one, within_two: share of truths within so many deviations; .683 and .954 where
            errors are normal and the deviations right.
        rank: Spearman of the deviation with the size of the error.
        scale: what the deviations would have to be multiplied by, so that .683 lie within one.
    """

    within_one: float
    within_two: float
    rank: float
    scale: float


def spearman(one: Floats, other: Floats) -> float:
    """Rank correlation; 0 where one side is constant, as a coin would be.

    >>> spearman(np.array([1.0, 2.0, 5.0]), np.array([0.1, 0.2, 0.3]))
    1.0
    """
    from scipy.stats import spearmanr

    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)


def rewrites(labels: Labels, networks: Collection[int], seed: int) -> tuple[Rewrites, ...]:
    """Some of the networks with their neighbours among them, where these are enough to rank."""
    members = set(networks)
    order = np.random.default_rng(seed).permutation(sorted(members))[:PARENTS]
    found = []
    for parent in sorted(order.tolist()):
        children = tuple(n for n in labels.neighbours[parent] if n in members)
        if len(children) >= FEWEST_CHILDREN:
            found.append(_at_places(labels, parent, children))
    return tuple(found)


def neighbour_figures(
    labels: Labels, found: Sequence[Rewrites], changes: Sequence[Floats]
) -> NeighbourFigures:
    """Figures of predicted changes, one array per parent in the order of its children."""
    ranks, regrets, random_regrets = [], [], []
    for one, change in zip(found, changes, strict=True):
        truths = labels.accuracies[list(one.children)]
        ranks.append(spearman(change, truths))
        regrets.append(float(truths.max() - truths[change.argmax()]))
        random_regrets.append(float(truths.max() - truths.mean()))
    if not ranks:
        return NeighbourFigures(0, np.nan, np.nan, np.nan, np.nan)
    return NeighbourFigures(
        len(ranks),
        float(np.mean(ranks)),
        float(np.median(ranks)),
        float(np.mean(regrets)),
        float(np.mean(random_regrets)),
    )


def changes_of(found: Sequence[Rewrites], change: Change) -> list[Floats]:
    """What every child is predicted to change, an array per parent."""
    if not found:
        return []
    before = [site for one in found for site in one.before]
    after = [site for one in found for site in one.after]
    bounds = np.cumsum([len(one.children) for one in found])[:-1]
    return np.split(change(before, after), bounds)


def calibration(predicted: Floats, deviation: Floats, truths: Floats) -> Calibration:
    """How the errors of predictions compare with their deviations, all float64[N]."""
    errors = np.abs(predicted - truths)
    known = deviation > 0
    times = errors[known] / deviation[known]
    return Calibration(
        within_one=float(np.mean(errors <= deviation)),
        within_two=float(np.mean(errors <= 2 * deviation)),
        rank=spearman(errors, deviation),
        scale=float(np.quantile(times, _ONE_DEVIATION)) if len(times) else 1.0,
    )


def _at_places(labels: Labels, parent: int, children: tuple[int, ...]) -> Rewrites:
    """The sites at which a parent turns into its children."""
    family = FAMILIES[labels.family]
    places = [family.differing_places(labels.codes[parent], labels.codes[c]) for c in children]
    before = tuple((parent, place) for place in places)
    return Rewrites(parent, children, before, tuple(zip(children, places, strict=True)))
