"""Fits whose output is cut off next: where it is, it may be anything that is cut off, too.

A rectifier forgives every error below zero, so there the target follows a first fit as far as it
may, and a second fit serves the rest. This is one turn of what Zhang et al. (2015, Accelerating
very deep convolutional networks) do in section 3.2; further turns gain next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autogo_onnx.fitting.boundary import Boundary
from autogo_onnx.fitting.inherit import SiteWeights
from autogo_onnx.fitting.segment import Fitted, Refused, fit, tensors_of
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.streams import Array, Stream


@dataclass(frozen=True)
class Cut:
    """What becomes of a site's output: `clip(output + beside, low, high)`.

    Attributes:
        total: what should be cut off: the output, or the sum, of the original.
        beside: the other summand as it is now; None where nothing is added.
        low, high: bounds.
    """

    total: Stream
    beside: Stream | None
    low: float
    high: float


def fit_cut(
    candidate: OpGraph, site: OpGraph, site_weights: SiteWeights, boundary: Boundary, cut: Cut
) -> Fitted | Refused:
    """`fit`, towards what comes out of the cut; the error that is told is that of the last fit."""
    fitted = fit(candidate, site, site_weights, boundary)
    if isinstance(fitted, Refused):
        return fitted
    (made,) = tensors_of(candidate, candidate.outputs, fitted.weights, boundary)
    again = fit(candidate, site, site_weights, boundary.aimed_at(_Followed(cut, made)))
    return fitted if isinstance(again, Refused) else again


@dataclass(frozen=True)
class _Followed:
    """The target; beyond the bounds, what was made, as far as it stays beyond them."""

    cut: Cut
    made: Stream

    @property
    def shape(self) -> tuple[int, ...]:
        return self.cut.total.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.cut.total.dtype

    def __getitem__(self, samples: slice, /) -> Array:
        low, high = np.float32(self.cut.low), np.float32(self.cut.high)
        total, made = self.cut.total[samples], self.made[samples]
        beside = None if self.cut.beside is None else self.cut.beside[samples]
        if beside is not None:
            made = made + beside
        found = np.where(total <= low, np.minimum(made, low), total)
        found = np.where(total >= high, np.maximum(made, high), found)
        return found if beside is None else found - beside
