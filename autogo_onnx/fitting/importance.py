"""How much the errors of a fit matter to a model's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autogo_onnx.fitting.moments import Indices
from autogo_onnx.fitting.ridge import Array

FLOOR = 0.05
"""Importance, as a share of the mean, that every direction has: estimates err, and outputs that do
not react to small changes may to larger ones."""


@dataclass(frozen=True, eq=False)
class Importance:
    """How much errors of one tensor move the outputs: by `e' metric e` for an error `e`.

    Attributes:
        metric: float64[C,C] over channels, symmetric, not negative, in any scale.
    """

    metric: Array

    def of(self, channels: Indices) -> Importance:
        """That of some channels."""
        return Importance(self.metric[np.ix_(channels, channels)])

    @cached_property
    def root(self) -> Array:
        """float64[C,C] by which errors are multiplied so that their squares are what matters."""
        values, vectors = np.linalg.eigh(self.metric)
        values = np.maximum(values, 0.0)
        mean = float(values.mean()) or 1.0
        return np.asarray((vectors * np.sqrt(values / mean + FLOOR)) @ vectors.T)

    @cached_property
    def inverse_root(self) -> Array:
        """The inverse of `root`."""
        return np.asarray(np.linalg.inv(self.root))
