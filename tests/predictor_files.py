"""Small predictors, fitted on made-up rows in a moment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from autogo_onnx import features
from autogo_onnx.features import Rows
from autogo_onnx.predictor.heads import Head, write

COLUMNS = range(3, 8)
"""Those that the small heads read."""


def random_rows(count: int, columns: int = len(features.COLUMNS), seed: int = 0) -> Rows:
    """Rows of few different values, so that many of them equal thresholds."""
    generator = np.random.default_rng(seed)
    return generator.choice([0, 1, 2, 0.1, 0.3, 1e-3, 7], (count, columns)).astype(np.float32)


def fitted(rows: Rows, target: NDArray[np.floating[Any]], **settings: Any) -> Any:
    """A `HistGradientBoostingRegressor` without early stopping, on one thread."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    with threadpool_limits(1):
        regressor = HistGradientBoostingRegressor(early_stopping=False, **settings)
        return regressor.fit(rows, target)


@cache
def members(count: int = 3) -> tuple[Any, ...]:
    """Members that agree on the whole, each fitted on rows of its own."""
    return tuple(_member(seed) for seed in range(count))


def _member(seed: int) -> Any:
    rows = random_rows(300, len(COLUMNS), seed)
    target = rows[:, 0] * 0.1 + np.sin(rows[:, 1]) - rows[:, 2] * rows[:, 3]
    return fitted(rows, target, max_iter=8, max_leaf_nodes=7, random_state=seed)


def head(name: str = "accuracy", count: int = 3, **facts: Any) -> Head:
    """A head of so many members."""
    return Head(name, f"{name} in its unit", members(count), COLUMNS, facts)


def written(path: Path, heads: Sequence[Head] = (), **metadata: Any) -> Path:
    """The path of a predictor, by default of one head, `accuracy`."""
    write(path, heads or [head()], metadata)
    return path
