"""How far a plan is beyond the gate, as one number."""

from __future__ import annotations

import math

from autogo_onnx.gate import Verdict
from autogo_onnx.options import Options

_LEAST = 0.05
"""Of the limit; smaller losses, and gains, are as good as this."""


def excess(verdict: Verdict, options: Options) -> float:
    """Logarithm of the figure that decides over its limit: negative lets the plan through.

    Of several outputs the worst counts. An error in dB is told as the ratio of amplitudes.

    Args:
        verdict: on the plan.
        options: the limits.
    """
    fidelity, limit = verdict.fidelity, max(options.max_drop, 1e-9)
    if verdict.lost is not None:
        return _log(verdict.lost / limit)
    found = []
    if fidelity.drop_bound is not None:
        found.append(_log(fidelity.drop_bound / fidelity.most_drop(limit)))
    if fidelity.psnr_bound_db is not None:
        found.append(_log(10 ** ((options.min_psnr - fidelity.psnr_bound_db) / 20)))
    return max(found)


def _log(share: float) -> float:
    return math.log(max(share, _LEAST))
