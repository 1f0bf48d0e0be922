"""About how far the outputs may diverge until the gate closes: a first guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autogo_onnx.class_drop import is_class_scores
from autogo_onnx.fidelity import UNSEEN, error_at
from autogo_onnx.options import Options

_LEAST_DROP = 1e-4


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
    return error_at(options.min_psnr)
