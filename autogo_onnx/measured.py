"""Latency of whole models against the original, from the table where it is known."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from autogo_onnx import latency
from autogo_onnx.job import Job
from autogo_onnx.sizes import digest

SECONDS = 3.0
_FIGURES = ("ratio", "noise", "ms_before", "ms_after")


@dataclass(frozen=True)
class Measured:
    """A model against the original; all None where nothing could be measured."""

    ratio: float | None = None
    noise: float | None = None
    ms_before: float | None = None
    ms_after: float | None = None


def measure(job: Job, model: onnx.ModelProto) -> Measured:
    """Ratio, its noise and milliseconds; where the target is counted, its ratio without noise.

    The milliseconds of a device are those that are predicted for it, if any are.
    """
    if job.counted is not None:
        ratio = job.counted_ratio(model)
        before = job.counted_cost(job.original)
        if job.counted.device is None or not before:
            return Measured(ratio, 0.0)
        return Measured(ratio, 0.0, before, job.counted_cost(model))
    if model is job.original:
        return Measured(1.0, 0.0)
    if job.feed is None:
        return Measured()
    keys = [f"model/{digest(model)}/{figure}" for figure in _FIGURES]
    if not all(key in job.table.entries for key in keys):
        paired = latency.compare(
            job.original,
            model,
            job.feed,
            seconds=SECONDS,
            seed=job.options.seed,
            threads=job.options.threads,
        )
        values = (paired.ratio_p10, paired.noise, paired.ms_a, paired.ms_b)
        job.table.entries.update(zip(keys, map(float, values), strict=True))
    return Measured(*(job.table.entries[key] for key in keys))
