"""Whether an exact rewrite pays on this model: what the target counts, or measured latency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from autogo_onnx import latency
from autogo_onnx.deadline import Deadline
from autogo_onnx.ending import PATIENCE
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.opgraph import Shape
from autogo_onnx.options import Options
from autogo_onnx.rewriters import Verdict
from autogo_onnx.sizes import digest, size
from autogo_onnx.targets import Counted

_SECONDS = (0.5, 1.0, 2.0)
_CLEAR_NOISE = 0.02
"""Measured again, and longer, until the noise is as small or the difference is larger."""


@dataclass(frozen=True)
class Payoff:
    """The judge of rules that do not pay everywhere.

    A rewrite is kept if it is not slower by more than the noise, or by two per cent where that is
    smaller. One that multiplies more must be faster beyond the noise. Where the target is counted
    it must not cost more, and at equal costs, or where the model cannot be run, not multiply more.

    Attributes:
        options: target, threads, seed.
        table: latency prices, known and new.
        feed: one batch to measure with; None where the model cannot be run.
        input_shapes: full shapes to count with; None for a batch of one.
        counted: the target, where it is not measured.
        deadline: of all measurements; after it a rewrite that is not known is not measured, but
            judged as where the model cannot be run.
    """

    options: Options
    table: LatencyTable
    feed: Mapping[str, np.ndarray[Any, Any]] | None
    input_shapes: Mapping[str, Shape] | None
    counted: Counted | None = None
    deadline: Deadline = field(default_factory=lambda: Deadline(math.inf))

    def __call__(self, rule: str, before: onnx.ModelProto, after: onnx.ModelProto) -> Verdict:
        """Judge what a rule made of a model."""
        sizes = [size(model, self.input_shapes) for model in (before, after)]
        delta = sizes[1].macs - sizes[0].macs
        if self.counted is not None:
            costs = [
                self.counted.of_model(model, self.input_shapes, known)
                for model, known in zip((before, after), sizes, strict=True)
            ]
            keep = (costs[1], delta) <= (costs[0], 0)
            by_params = self.options.target == "params"
            params_delta = sizes[1].params - sizes[0].params if by_params else None
            return Verdict(keep, delta, params_delta=params_delta)
        name = f"rule/{rule}/{digest(after)}"
        keys = [f"{name}/{figure}" for figure in ("ratio", "noise")]
        is_known = all(self.table.knows(key) for key in keys)
        if self.feed is None or (self.deadline.is_past() and not is_known):
            return Verdict(delta <= 0, delta)
        feed = self.feed
        ratio, noise = self.table.figures(keys, lambda: self._measured(before, after, feed))
        most = 1 - noise if delta > 0 else 1 + min(noise, _CLEAR_NOISE)
        return Verdict(ratio <= most, delta, ratio, noise)

    def _measured(
        self,
        before: onnx.ModelProto,
        after: onnx.ModelProto,
        feed: Mapping[str, np.ndarray[Any, Any]],
    ) -> tuple[float, float]:
        """Ratio and noise."""
        for seconds in _SECONDS:
            paired = latency.compare(
                before,
                after,
                feed,
                seconds=seconds,
                seed=self.options.seed,
                threads=self.options.threads,
                limit_s=PATIENCE * seconds,
            )
            is_clear = paired.noise <= max(_CLEAR_NOISE, abs(paired.ratio_p10 - 1))
            if is_clear or self.deadline.is_past():
                break
        return paired.ratio_p10, paired.noise
