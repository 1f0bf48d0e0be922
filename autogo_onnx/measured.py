"""Latency of whole models against the original, from the table where it is known."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from autogo_onnx import latency
from autogo_onnx.deadline import Deadline
from autogo_onnx.ending import PATIENCE, measured_s, measurement_s
from autogo_onnx.job import Job
from autogo_onnx.sizes import digest

_FIGURES = ("ratio", "noise", "ms_before", "ms_after")


@dataclass(frozen=True)
class Measured:
    """A model against the original; all None where nothing could be measured."""

    ratio: float | None = None
    noise: float | None = None
    ms_before: float | None = None
    ms_after: float | None = None


def measure(job: Job, model: onnx.ModelProto, deadline: Deadline | None = None) -> Measured:
    """Ratio, its noise and milliseconds; where the target is counted, its ratio without noise.

    The milliseconds of a device are those that are predicted for it, if any are.

    Args:
        job: the run.
        model: what became of its original.
        deadline: what is not known is not measured if that would end later; None: there is none.
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
    name = f"model/{digest(model)}"
    keys = [f"{name}/{figure}" for figure in _FIGURES]
    needed = measurement_s(job.options.budget_s, job.pace.open_s, job.pace.run_s)
    is_late = deadline is not None and not deadline.has(needed)
    if is_late and not all(job.table.knows(key) for key in keys):
        job.notes.append("latency was not measured: the budget (--budget) was too short")
        return Measured()
    feed, seconds = job.feed, measured_s(job.options.budget_s)

    def compare() -> tuple[float, ...]:
        paired = latency.compare(
            job.original,
            model,
            feed,
            seconds=seconds,
            seed=job.options.seed,
            threads=job.options.threads,
            limit_s=PATIENCE * seconds,
        )
        return paired.ratio_p10, paired.noise, paired.ms_a, paired.ms_b

    return Measured(*job.table.figures(keys, compare))
