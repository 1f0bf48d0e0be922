"""About how far the outputs may diverge until the gate closes: a first guess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from autogo_onnx.class_drop import is_class_scores
from autogo_onnx.fidelity import UNSEEN, peak_power
from autogo_onnx.options import Options

_LEAST_DROP, _LEAST_DIVERGENCE = 1e-4, 1e-9


def allowance(outputs: Sequence[np.ndarray[Any, Any]], options: Options) -> float:
    """The divergence from the original (`score.divergence`) at which the gate may close.

    A first guess. The bound on the loss of top-1 was 0.5 to 1.3 times the summed divergences of
    plans that lost about what is allowed (ResNet-8, ResNet-18).

    Args:
        outputs: of the original on some samples; leading axes count samples.
        options: the limits.
    """
    if is_class_scores(outputs[0]):
        return max(options.max_drop, _LEAST_DROP) / UNSEEN
    shares = [_error_share(output, options.min_psnr) for output in outputs]
    return max(_LEAST_DIVERGENCE, min(shares))


def _error_share(output: np.ndarray[Any, Any], psnr_db: float) -> float:
    """The squared error of some dB as a share of the variance."""
    finite = output[np.isfinite(output)].astype(np.float64)
    variance = float(finite.var()) if finite.size else 0.0
    return peak_power(finite) / variance / 10 ** (psnr_db / 10) if variance else math.inf
