"""Rows of labelled networks with their targets: what trees are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import features
from autogo_onnx.features import Rows

Floats = NDArray[np.float64]

MOST_DEVIATIONS = 4.0


@dataclass(frozen=True)
class Dataset:
    """N rows and what is known of them.

    Attributes:
        rows: float32[N,F] in the order of `features.COLUMNS`.
        targets: float64[N].
        weights: how much each row counts, float64[N].
        networks: which network a row is of, int64[N].
    """

    rows: Rows
    targets: Floats
    weights: Floats
    networks: NDArray[np.int64]

    def weighted(self, total: float) -> Dataset:
        """The same rows with weights that sum to `total`."""
        return replace(self, weights=self.weights * (total / self.weights.sum()))


def joined(datasets: Sequence[Dataset]) -> Dataset:
    """Rows of several families one after the other; no two share a network."""
    numbers, start = [], 0
    for data in datasets:
        numbers.append(data.networks + start)
        start += int(data.networks.max(initial=-1)) + 1
    return Dataset(
        np.concatenate([data.rows for data in datasets]),
        np.concatenate([data.targets for data in datasets]),
        np.concatenate([data.weights for data in datasets]),
        np.concatenate(numbers),
    )


def deviations(accuracies: Floats, known: Sequence[int]) -> Floats:
    """Accuracies as targets: distance from the median in robust standard deviations, within +-4.

    One network in ten of some families failed to train. Measured by them, or learned to the letter,
    what sets good networks apart is lost: on 300 labels of NAS-Bench-101 Spearman rises from .85 to
    .92 against the plain standard deviation, and elsewhere it is the same.

    Args:
        accuracies: float64[N].
        known: the networks whose accuracies may be looked at.

    >>> deviations(np.array([1.0, 2.0, 3.0, 99.0]), range(3)).round(2).tolist()
    [-0.67, 0.0, 0.67, 4.0]
    """
    seen = accuracies[list(known)]
    middle = np.median(seen)
    # 1.4826 makes it the standard deviation where values are normal.
    spread = 1.4826 * float(np.median(np.abs(seen - middle))) or float(seen.std()) or 1.0
    within: Floats = np.clip((accuracies - middle) / spread, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    return within


def value_columns() -> tuple[int, ...]:
    """Numbers of the columns that say what a network with S' in it is: P, S', C and the whole.

    What was there before is left out, so the value of a network does not depend on which segment
    it was made from, and the change by a rewrite is a difference of two values.
    """
    parts = ("replacement.", "predecessor.", "successor.", "network.")
    return tuple(
        number
        for number, name in enumerate(features.COLUMNS)
        if name.startswith(parts) and not name.endswith(("_change", "_share"))
    )
