"""Latency of many models over one, all in one measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from autogo_onnx import latency, runtime


def ratios_of(
    original: Path, models: Sequence[Path], feed: Mapping[str, np.ndarray], seconds: float
) -> tuple[dict[Path, float], float]:
    """Ratios of p10 on one thread, and the largest A/A bound.

    Args:
        original: is measured twice.
        models: that take the same feed.
        feed: one batch.
        seconds: of wall-clock time for the whole.
    """
    sessions = [runtime.open_session(path) for path in (original, original, *models)]
    times = latency.interleave(sessions, feed, seconds=seconds, seed=0, threads=1)
    pairs = [latency.judge(np.stack([*times[:2], row]), threads=1, seed=0) for row in times[2:]]
    ratios = [pair.ratio_p10 for pair in pairs]
    return dict(zip(models, ratios, strict=True)), max((p.noise for p in pairs), default=0.0)
