"""Latency of evolved models against the base: measured here, predicted of a device, or untold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import onnx

from autogo_onnx import latency, runtime, signature
from autogo_onnx.errors import InputError
from autogo_onnx.evolved.base import Base
from autogo_onnx.evolved.options import EvolveOptions
from autogo_onnx.evolved.report import EvolvedModel, Latency
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.options import Options
from autogo_onnx.report import LatencyIs, Size
from autogo_onnx.sizes import size
from autogo_onnx.targets import Counted, counted

MEASURED_S = 3.0
"""Of one model; more where that is too short for enough runs."""
RUN_LIMIT_S = 120.0
# Of a measurement of something slow: three models take turns.
_RUNS = 3 * latency.MIN_ROUNDS
Feed = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Timing:
    """How latency is told.

    Attributes:
        base: whose latency others are told against.
        options: threads and seed of measurements.
        device: what predicts; None where something is measured or nothing is told.
        feed: one batch to measure with, or to see that a model runs; None where the base does not.
        why_not: why the base does not run; empty where it does.
        measuring_s: about how long a measurement will take.
    """

    base: Base
    options: EvolveOptions
    device: Counted | None
    feed: Feed | None
    why_not: str = ""
    measuring_s: float = 0.0

    @property
    def kind(self) -> LatencyIs:
        """Whether latency is measured or predicted; `counted` where it is untold."""
        if self.device is not None:
            return "predicted"
        return "measured" if self.options.target == "cpu" and self.feed else "counted"

    @property
    def of_part(self) -> Callable[[OpGraph], float] | None:
        """Milliseconds of a network or a part of one, for the search; None where none is known."""
        return None if self.device is None else self.device.cost

    def of(self, graph: OpGraph, model: onnx.ModelProto) -> Latency | None:
        """Latency of a network against the base's; None where it is untold."""
        if self.device is not None:
            before, after = map(self.device.of_network, (self.base.graph, graph))
            return Latency(after / before if before else 1.0, None, after, before)
        if self.kind != "measured" or self.feed is None:
            return None
        paired = latency.compare(
            self.base.model,
            model,
            self.feed,
            seconds=MEASURED_S,
            seed=self.options.seed,
            threads=self.options.threads,
        )
        return Latency(paired.ratio_p10, paired.noise, paired.ms_b, paired.ms_a)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know of these latencies, and of the base that does not run, a line each."""
        doubts = self.device.doubts(self.base.model, self.base.shapes) if self.device else []
        failed = f"nothing was run, so nothing was measured: {self.why_not}"
        return (*doubts, *([failed] if self.why_not else []))

    def base_size(self, models: Sequence[EvolvedModel]) -> Size:
        """What the base costs; its milliseconds are the median of its measurements with others."""
        counted_size = size(self.base.model, self.base.shapes)
        own = [model.latency.ms_base for model in models if model.latency is not None]
        return replace(counted_size, latency_ms=median(own) if own else None)

    def try_out(self, model: onnx.ModelProto) -> float:
        """See that a model runs, where the base does; seconds of the run.

        Raises:
            InputError: it does not.
        """
        if self.feed is None:
            return 0.0
        session = runtime.open_session(model, optimize=False, threads=self.options.threads)
        start = time.perf_counter()
        runtime.run(session, None, dict(self.feed), limit_s=RUN_LIMIT_S)
        return time.perf_counter() - start


def timing(base: Base, options: EvolveOptions) -> Timing:
    """How latency is told for the options' target.

    Raises:
        InputError: there is no such device.
    """
    target = counted(Options(target=options.target, predictor=options.predictor))
    device = target if target is not None and target.device is not None else None
    found = Timing(base, options, device, _feed(base, options.seed))
    try:
        run_s = found.try_out(base.model)
    except InputError as error:
        return replace(found, feed=None, why_not=str(error))
    is_measured = found.kind == "measured"
    return replace(found, measuring_s=max(MEASURED_S, _RUNS * run_s) if is_measured else 0.0)


def _feed(base: Base, seed: int) -> Feed:
    """Seeded standard-normal inputs, zeros for integers."""
    rng = np.random.default_rng(seed)
    dtypes = {spec.name: spec.numpy_dtype for spec in signature.inputs(base.model)}
    return {
        name: (
            rng.standard_normal(shape).astype(dtypes[name])
            if dtypes[name].kind == "f"
            else np.zeros(shape, dtypes[name])
        )
        for name, shape in base.shapes.items()
    }
