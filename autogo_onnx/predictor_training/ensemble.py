"""A small ensemble of gradient-boosted trees: what predicts, and how sure it is.

Every member is fitted to the same rows under other weights, a bootstrap over *networks*: rows of
one network carry one label, so they are drawn together. Where the members disagree the prediction
is uncertain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.features import Rows
from autogo_onnx.predictor import Predicted
from autogo_onnx.predictor_training.dataset import Dataset

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """How trees are grown.

    Attributes:
        members: ensembles of trees that are averaged.
        trees, learning_rate, leaves: of a member's gradient boosting.
        fewest_in_leaf: rows.
        column_share: of the columns that a split may choose from.
        bins: different values of a column that are told apart, at most 255.
    """

    members: int = 4
    trees: int = 200
    learning_rate: float = 0.1
    leaves: int = 15
    fewest_in_leaf: int = 5
    column_share: float = 0.2
    bins: int = 255


@dataclass(frozen=True)
class Ensemble:
    """Fitted `HistGradientBoostingRegressor`s and the numbers of the columns that they read."""

    members: tuple[Any, ...]
    columns: tuple[int, ...]

    def predict(self, rows: Rows) -> Predicted:
        """Mean and standard deviation over the members, of rows float32[N,F]."""
        seen = np.ascontiguousarray(rows[:, self.columns])
        values = np.stack([member.predict(seen) for member in self.members])
        return Predicted(values.mean(axis=0), values.std(axis=0))


def fit(data: Dataset, columns: Sequence[int], recipe: Recipe, seed: int) -> Ensemble:
    """Fit an ensemble, on one thread.

    Early stopping is off: it would judge by rows whose networks it has trained on.

    Args:
        columns: which may be used; those that never vary, or repeat another, are left out.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    used = telling(data.rows, columns)
    rows = np.ascontiguousarray(data.rows[:, used])
    members: list[Any] = []
    for weights in _resampled(data, recipe.members, seed):
        regressor = HistGradientBoostingRegressor(
            max_iter=recipe.trees,
            learning_rate=recipe.learning_rate,
            max_leaf_nodes=recipe.leaves,
            min_samples_leaf=recipe.fewest_in_leaf,
            max_features=recipe.column_share,
            max_bins=recipe.bins,
            early_stopping=False,
            random_state=seed + len(members),
        )
        with threadpool_limits(1):
            members.append(regressor.fit(rows, data.targets, sample_weight=weights))
    return Ensemble(tuple(members), used)


def telling(rows: Rows, columns: Sequence[int]) -> tuple[int, ...]:
    """The columns that vary and do not repeat an earlier one; the first column if none does.

    >>> telling(np.array([[1, 2, 2, 5], [1, 3, 3, 4]], np.float32), range(4))
    (1, 3)
    """
    seen: dict[bytes, int] = {}
    for column in columns:
        values = rows[:, column]
        if len(values) and values.min() < values.max():
            seen.setdefault(values.tobytes(), column)
    return tuple(seen.values()) or tuple(columns[:1])


def _resampled(data: Dataset, members: int, seed: int) -> list[Floats]:
    """Weights of the rows for every member; a single member sees the rows as they are."""
    if members == 1:
        return [data.weights]
    generator = np.random.default_rng(seed)
    networks, number = np.unique(data.networks, return_inverse=True)
    chance = np.full(len(networks), 1 / len(networks))
    draws = [generator.multinomial(len(networks), chance) for _ in range(members)]
    return [data.weights * drawn[number] for drawn in draws]
