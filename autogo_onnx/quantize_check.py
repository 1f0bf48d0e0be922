"""How the result of a run fares in int8, beside the original: latency, the gate's figure.

Both are quantized alike, on the same samples to fit on, and judged on those held out. All models
are measured in turns with each other. Whatever cannot be done is told; it breaks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort

from autogo_onnx import latency, runtime, verify
from autogo_onnx.errors import InputError
from autogo_onnx.ground import halves
from autogo_onnx.job import Job
from autogo_onnx.metric import evaluate, load_metric
from autogo_onnx.options import Gating
from autogo_onnx.quantities import quantities_of
from autogo_onnx.quantization import quantize
from autogo_onnx.report import PrecisionFigures, QuantizeCheck, Report
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import Samples

MOST_SAMPLES, FEWEST_SAMPLES = 128, 16
MOST_MACS = 1e10
"""Of a calibration, some ten seconds: it runs without ONNX Runtime's optimizations."""
SECONDS = 6.0

_Name = Literal["original", "optimized"]


@dataclass(frozen=True)
class _Running:
    """A model of the check, open."""

    model: _Name
    precision: Literal["float", "int8"]
    proto: onnx.ModelProto
    session: ort.InferenceSession


def check(job: Job, report: Report) -> QuantizeCheck:
    """Quantize, judge and measure.

    Args:
        job: the run.
        report: its result.
    """
    if job.samples is None:
        return QuantizeCheck(0, problems=("nothing was quantized: the model does not run",))
    fit, held_out = halves(job.samples, job.options.seed)
    fit = fit.take(range(min(len(fit), _affordable(job))))
    job.progress.stage("quantize")
    problems: list[str] = []
    running = _running(job, report, fit, problems)
    if not running:
        return QuantizeCheck(len(fit), problems=tuple(problems))
    figures = _measured(job, running)
    fidelities = _fidelities(running, held_out, job.options.gate, problems)
    metrics = _metrics(job, report, running, problems)
    rows = tuple(
        replace(row, fidelity=fidelity, metric=metric)
        for row, fidelity, metric in zip(figures.models, fidelities, metrics, strict=True)
    )
    return replace(figures, samples=len(fit), models=rows, problems=tuple(problems))


def _affordable(job: Job) -> int:
    batch = 1 if job.samples is None else job.samples.batch_size(1)
    macs = max(1, job.size(job.original).macs / batch)
    return int(np.clip(MOST_MACS / macs, FEWEST_SAMPLES, MOST_SAMPLES))


def _running(job: Job, report: Report, fit: Samples, problems: list[str]) -> list[_Running]:
    """The models in float, then those that could be quantized; none where no model could be."""
    names: list[_Name] = ["original"]
    if report.changed and report.model is not job.original:
        names.append("optimized")
    threads = job.options.threads
    in_int8 = []
    for name in names:
        try:
            made = quantize(job.original if name == "original" else report.model, fit)
            session = open_session(made.model, threads=threads)
            runtime.run(session, None, next(fit.batches(1)))
        except InputError as error:
            problems.append(f"the {name} model was not quantized: {error}")
            continue
        if made.float_layers:
            problems.append(
                f"{made.float_layers} of {made.layers} convolutions and matrix products of the "
                f"{name} model stay in float32"
            )
        in_int8.append(_Running(name, "int8", made.model, session))
    if not in_int8:
        return []
    as_they_are = [job.original, report.model][: len(names)]
    return [
        *(
            _Running(name, "float", model, open_session(model, threads=threads))
            for name, model in zip(names, as_they_are, strict=True)
        ),
        *in_int8,
    ]


def _measured(job: Job, running: Sequence[_Running]) -> QuantizeCheck:
    """Latency of every model over the original's, and of the two in int8.

    The original is measured twice in either precision, which gives the A/A bounds.
    """
    assert job.feed is not None, "there are samples"
    options = job.options
    int8 = [k for k, one in enumerate(running) if one.precision == "int8"]
    twice = [0, int8[0]] if len(int8) > 1 else [0]
    again = [open_session(running[k].proto, threads=options.threads) for k in twice]
    times = latency.interleave(
        [one.session for one in running] + again,
        job.feed,
        seconds=SECONDS,
        seed=options.seed,
        threads=options.threads,
    )

    def over(base: int, other: int) -> latency.Paired:
        rows = np.stack([times[base], times[len(running) + twice.index(base)], times[other]])
        return latency.judge(rows, threads=options.threads, seed=options.seed)

    pairs = [over(0, k) for k in range(len(running))]
    models = [
        PrecisionFigures(one.model, one.precision, p.ms_b, p.ratio_p10, p.noise)
        for one, p in zip(running, pairs, strict=True)
    ]
    models[0] = PrecisionFigures("original", "float", pairs[0].ms_a, 1.0, 0.0)
    found = QuantizeCheck(0, tuple(models))
    if len(int8) < 2:
        return found
    pair = over(int8[0], int8[1])
    return replace(
        found,
        latency_ratio=pair.ratio_p10,
        latency_noise=pair.noise,
        keeps_gain=pair.is_faster,
    )


def _fidelities(
    running: Sequence[_Running], held_out: Samples, gating: Gating, problems: list[str]
) -> list[verify.Fidelity | None]:
    """Of each model to the first, which needs none but for its accuracy; None: not comparable."""
    found: list[verify.Fidelity | None] = [None] * len(running)
    labels = held_out.labels
    try:
        quantities = quantities_of(running[0].proto, held_out, gating)
        reference = quantities.split(verify.run(running[0].session, held_out))
        if labels is not None:
            found[0] = verify.judge(reference, reference, labels)
        for k, one in enumerate(running[1:], 1):
            outputs = quantities.split(verify.run(one.session, held_out))
            found[k] = verify.judge(reference, outputs, labels)
    except InputError as error:
        problems.append(f"outputs were not compared: {error}")
    return found


def _metrics(
    job: Job, report: Report, running: Sequence[_Running], problems: list[str]
) -> list[float | None]:
    """The user's metric of each model, where there is one; the report knows some already."""
    reference = job.options.evaluate
    if reference is None:
        return [None] * len(running)
    known = {}
    if report.metric is not None and report.metric.name == reference:
        known = {"original": report.metric.before, "optimized": report.metric.after}
    try:
        metric = load_metric(reference)
        return [
            known[one.model]
            if one.precision == "float" and one.model in known
            else evaluate(metric, one.proto).value
            for one in running
        ]
    except InputError as error:
        problems.append(f"the metric was not taken: {error}")
        return [None] * len(running)
