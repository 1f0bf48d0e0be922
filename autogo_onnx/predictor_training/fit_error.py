"""The head that predicts how well a candidate can be fitted, before it is fitted.

It learns from trials (see `trials`) log10 of the error that the closed-form fit leaves. Only what
the segment and its replacement are is looked at: a handful of models would teach the trees which
model they are in, and the next one is another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import features
from autogo_onnx.opgraph import OpGraph, cut
from autogo_onnx.predictor.heads import Head
from autogo_onnx.predictor_training.dataset import Dataset, joined
from autogo_onnx.predictor_training.ensemble import Ensemble, Recipe, fit
from autogo_onnx.predictor_training.trials import Trials, read

NAME = "error"
PREDICTS = "log10 of the normalized mean squared error that a closed-form fit leaves"
RECIPE = Recipe(members=4, trees=150, learning_rate=0.06, fewest_in_leaf=10)
BEST, WORST = 1e-4, 2.0
"""Errors are learned within these bounds: what lies beyond is exact, or hopeless."""
_PARTS = ("replacement.", "change.")


def columns() -> tuple[int, ...]:
    """Numbers in `features.COLUMNS` of what the head reads: S' and how it differs from S."""
    return tuple(n for n, name in enumerate(features.COLUMNS) if name.startswith(_PARTS))


def dataset(model: Trials) -> Dataset:
    """The trials of one model as rows; what the ensemble calls a network is here a kind of site.

    Equal sites of a model have nearly equal errors, so they are drawn together. A model counts
    with the square root of its rows: many of a large model's are alike.
    """
    network = features.Network(model.network)
    kinds: dict[OpGraph, int] = {}
    rows, errors, numbers = [], [], []
    for place in model.places:
        site = network.site(place.ops)
        rows.append(features.rows(site, [trial.graph for trial in place.trials]))
        errors += [trial.nmse for trial in place.trials]
        numbers += [kinds.setdefault(cut(model.network, place.ops).graph, len(kinds))] * len(
            place.trials
        )
    whole = Dataset(
        np.concatenate(rows), target(errors), np.ones(len(errors)), np.array(numbers, np.int64)
    )
    return whole.weighted(len(errors) ** 0.5)


def target(errors: Sequence[float]) -> NDArray[np.float64]:
    """What is learned of normalized errors, float64[N].

    >>> target([0.01, float("inf")]).round(3).tolist()
    [-2.0, 0.301]
    """
    learned: NDArray[np.float64] = np.log10(np.clip(errors, BEST, WORST))
    return learned


def train(datasets: Sequence[Dataset], seed: int = 0, recipe: Recipe = RECIPE) -> Ensemble:
    """Fit the trees to the rows of some models."""
    return fit(joined(datasets), columns(), recipe, seed)


def head(path: Path, seed: int = 0) -> Head:
    """The head for a predictor file, trained on all models of a file of trials.

    Raises:
        InputError: the file cannot be read.
    """
    models = read(path)
    ensemble = train([dataset(model) for model in models], seed)
    facts = {
        "trained_on": {model.model: _count(model) for model in models},
        "trials_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "recipe": repr(RECIPE),
        "made_by": "python -m benchmarks.experience",
    }
    return Head(NAME, PREDICTS, ensemble.members, ensemble.columns, facts)


def _count(model: Trials) -> int:
    return sum(len(place.trials) for place in model.places)
