"""Latency of whole models against the original, from the table where it is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from autogo_onnx import calibration, latency, runtime
from autogo_onnx.errors import InputError
from autogo_onnx.job import Job

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
    """Ratio, its noise and milliseconds; for the target `macs` the counted ratio, without noise."""
    if job.options.target == "macs":
        return Measured(job.macs_ratio(model), 0.0)
    if model is job.original:
        return Measured(1.0, 0.0)
    feed = _feed(job)
    if feed is None:
        return Measured()
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()[:20]
    keys = [f"model/{digest}/{figure}" for figure in _FIGURES]
    if not all(key in job.table.entries for key in keys):
        paired = latency.compare(
            job.original,
            model,
            feed,
            seconds=SECONDS,
            seed=job.options.seed,
            threads=job.options.threads,
        )
        values = (paired.ratio_p10, paired.noise, paired.ms_a, paired.ms_b)
        job.table.entries.update(zip(keys, map(float, values), strict=True))
    return Measured(*(job.table.entries[key] for key in keys))


def _feed(job: Job) -> Mapping[str, np.ndarray[Any, Any]] | None:
    """One batch to measure with; None where the model cannot be run."""
    if job.samples is not None:
        return next(job.samples.batches(1))
    try:
        feed = next(calibration.noise(job.original, 1, seed=job.options.seed).batches(1))
        session = runtime.open_session(job.original, threads=job.options.threads)
        runtime.run(session, None, feed)
    except InputError as error:
        job.notes.append(f"latency was not measured: {error}")
        return None
    return feed
