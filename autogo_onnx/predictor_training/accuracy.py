"""The head that predicts accuracy: the value of a network, seen at one of its places.

g(P, S, C) is the accuracy, in robust deviations within the family, of the network in which S stands
between P and C. The change by a rewrite is g(P, S', C) - g(P, S, C): zero for S' = S, opposite for
the way back, and sums of rewrites add up. A model of the changes themselves ranks no better and
takes many times as long to fit (`python -m benchmarks.predictor`).

Every network is seen at its middle place and at some others, as the sites of a user's network lie
anywhere. A part of every family is left out of the training, by a draw that `training_networks`
repeats; on it the figures in the file and the scale of its deviations are measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.predictor import ACCURACY
from autogo_onnx.predictor.heads import Head
from autogo_onnx.predictor_training.dataset import Dataset, deviations, joined, value_columns
from autogo_onnx.predictor_training.ensemble import Ensemble, Recipe, fit
from autogo_onnx.predictor_training.judging import calibration, spearman
from autogo_onnx.predictor_training.labels import Labels
from autogo_onnx.predictor_training.network_rows import (
    Site,
    drawn_sites,
    middle_sites,
    rows_of,
)

Floats = NDArray[np.float64]

PREDICTS = "accuracy in robust standard deviations of the family"
MOST_NETWORKS, LARGEST_SHARE = 1500, 0.8
OTHER_PLACES = 2
RECIPE = Recipe(members=4, trees=300, learning_rate=0.1, leaves=31)


@dataclass(frozen=True)
class Family:
    """The networks of a family with one value each, of all its tasks together.

    Attributes:
        labels: of one task; all tasks have the same codes.
        values: mean over the tasks of the accuracies in `deviations`; float64[N].
    """

    labels: Labels
    values: Floats


def families(labels: Sequence[Labels], seed: int) -> tuple[Family, ...]:
    """One value per network: labels of the same networks in several tasks are averaged."""
    found = []
    for _, tasks in groupby(labels, key=lambda one: one.family):
        same = tuple(tasks)
        known = training_networks(same[0], seed)
        values = np.mean([deviations(task.accuracies, known) for task in same], axis=0)
        found.append(Family(same[0], values))
    return tuple(found)


def training_networks(labels: Labels, seed: int) -> tuple[int, ...]:
    """Numbers of the networks that the head is trained on, ascending."""
    count = min(MOST_NETWORKS, int(LARGEST_SHARE * len(labels.codes)))
    order = np.random.default_rng(seed).permutation(len(labels.codes))
    return tuple(sorted(order[:count].tolist()))


def sites_of(labels: Labels, networks: Collection[int]) -> list[Site]:
    """Where networks are seen: at the middle place and some drawn ones, sorted.

    Which places a network is seen at does not depend on what other networks are asked for.
    """
    every = range(len(labels.codes))
    drawn = drawn_sites(labels, every, each=OTHER_PLACES, seed=0)
    both = {(n, p.start, p.stop) for n, p in [*middle_sites(labels, every), *drawn]}
    chosen = set(networks)
    return [(n, range(start, stop)) for n, start, stop in sorted(both) if n in chosen]


def dataset(
    labels: Labels, sites: Sequence[Site], values: Floats, cache: Path | None = None
) -> Dataset:
    """The rows of sites with their networks' values; every network counts 1.

    Args:
        values: one per network of the labels, float64[M].
        cache: see `rows_of`.
    """
    numbers = np.array([number for number, _ in sites], np.int64)
    weights = 1 / np.bincount(numbers)[numbers]
    return Dataset(rows_of(labels, sites, cache=cache), values[numbers], weights, numbers)


def head(
    labels: Sequence[Labels], seed: int = 0, recipe: Recipe = RECIPE, cache: Path | None = None
) -> Head:
    """The head for a predictor file, trained on a part of the networks of every family.

    Args:
        labels: tasks of one family stand together.
        cache: a folder to keep rows in.
    """
    known = families(labels, seed)
    parts = [_training_part(family, seed, cache) for family in known]
    # Families count alike: one has ten times the networks of another, and none is the user's.
    total = sum(len(part.rows) for part in parts) / len(parts)
    ensemble = fit(joined([p.weighted(total) for p in parts]), value_columns(), recipe, seed)
    facts: dict[str, Any] = {
        "seed": seed,
        "recipe": asdict(recipe),
        "rows": sum(len(part.rows) for part in parts),
        "trained_on": {
            family.labels.family: len(training_networks(family.labels, seed)) for family in known
        },
        **_held_out_figures(ensemble, known, seed, cache),
    }
    return Head(ACCURACY, PREDICTS, ensemble.members, ensemble.columns, facts)


def _training_part(family: Family, seed: int, cache: Path | None) -> Dataset:
    networks = training_networks(family.labels, seed)
    sites = sites_of(family.labels, networks)
    return dataset(family.labels, sites, family.values, cache)


def _held_out_figures(
    ensemble: Ensemble, known: Sequence[Family], seed: int, cache: Path | None
) -> dict[str, Any]:
    """Rank correlations on what was left out, and what the deviations are multiplied by."""
    ranks, scales = {}, []
    for family in known:
        labels = family.labels
        trained = set(training_networks(labels, seed))
        left_out = [n for n in range(len(labels.codes)) if n not in trained]
        part = dataset(labels, middle_sites(labels, left_out), family.values, cache)
        found = ensemble.predict(part.rows)
        ranks[labels.family] = round(spearman(found.mean, part.targets), 4)
        scales.append(calibration(found.mean, found.deviation, part.targets).scale)
    # The median over families: of one that is nearly all noise the deviations say little.
    return {"held_out_spearman": ranks, "deviation_scale": round(float(np.median(scales)), 4)}
