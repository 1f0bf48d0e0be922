"""What `autogo-onnx compare A B` computes: what a caller of A would notice when given B."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from autogo_onnx import calibration, latency, model, runtime, verify
from autogo_onnx.errors import InputError
from autogo_onnx.isolation import try_apart
from autogo_onnx.latency import Paired
from autogo_onnx.metric import load_metric
from autogo_onnx.options import Options
from autogo_onnx.quantities import quantities_of
from autogo_onnx.samples import Samples
from autogo_onnx.verify import Fidelity

_NOISE_SAMPLES = 16


@dataclass(frozen=True)
class Comparison:
    """Model B against model A.

    Attributes:
        signature: differences of inputs, outputs and operator sets, one line each.
        data: what was fed: the user's samples, or noise, which says nothing about accuracy.
        samples: how many.
        fidelity: of the outputs, if they can be compared.
        unjudged: why they cannot, else None.
        metric: the user's metric of A and of B, if given.
        latency: paired, both with all of ONNX Runtime's optimizations.
    """

    signature: tuple[str, ...]
    data: Literal["calibration", "noise"]
    samples: int
    fidelity: Fidelity | None
    unjudged: str | None
    metric: tuple[float, float] | None
    latency: Paired


def compare(a: Path, b: Path, *, options: Options, seconds: float = 5.0) -> Comparison:
    """Compare two models on `options.calibration`, or on seeded noise without it.

    Args:
        a: the original.
        b: the changed model; it must take the inputs of A.
        options: calibration, labels, evaluate, mean, std, scale, layout, threads and seed are read.
        seconds: wall time for the latency.

    Raises:
        InputError: a file that cannot be used, or a model that does not run on the samples.
    """
    original, changed = model.load(a), model.load(b)
    samples = _samples(original, changed, options)
    outputs = _outputs(original, (a, b), samples, options)
    metric = None
    if options.evaluate is not None:
        evaluate = load_metric(options.evaluate)
        metric = (evaluate(a).value, evaluate(b).value)
    feed = next(samples.batches(1))
    return Comparison(
        signature=tuple(verify.signature_problems(original, changed)),
        data="noise" if options.calibration is None else "calibration",
        samples=len(samples),
        fidelity=None
        if isinstance(outputs, str)
        else verify.judge(outputs[0], outputs[1], samples.labels),
        unjudged=outputs if isinstance(outputs, str) else None,
        metric=metric,
        latency=latency.compare(
            a, b, feed, seconds=seconds, seed=options.seed, threads=options.threads
        ),
    )


def _samples(original: onnx.ModelProto, changed: onnx.ModelProto, options: Options) -> Samples:
    if options.calibration is None:
        noise = calibration.noise(original, _NOISE_SAMPLES, seed=options.seed)
        for either in (original, changed):
            try_apart(either, noise, optimize=True)
        return noise
    return calibration.load(options.calibration, original, options)


def _outputs(
    original: onnx.ModelProto, paths: tuple[Path, Path], samples: Samples, options: Options
) -> list[list[np.ndarray]] | str:
    """Outputs of both in order, or why they cannot be compared."""
    sessions = [runtime.open_session(path, threads=options.threads) for path in paths]
    try:
        before, after = (verify.run(session, samples) for session in sessions)
    except InputError as error:
        return str(error)
    if list(before) != list(after):
        return "the outputs have other names"
    if any(before[name].shape != after[name].shape for name in before):
        return "the outputs have other shapes"
    try:
        quantities = quantities_of(original, samples)
    except InputError as error:
        return f"the quantities in them cannot be told apart: {error}"
    return [quantities.split(before), quantities.split(after)]
