"""The report of a run: what was chosen, what it costs, what was left alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx

from autogo_onnx.job import Job
from autogo_onnx.measured import Measured
from autogo_onnx.messages import opset_of
from autogo_onnx.report import (
    LatencyIs,
    Metric,
    ModelInfo,
    ParetoPoint,
    Replacement,
    Report,
    Rewrite,
    SampleCounts,
    Skipped,
    installed_versions,
)
from autogo_onnx.rewriters import Verdict
from autogo_onnx.verify import Fidelity

if TYPE_CHECKING:
    from autogo_onnx.improvement import Improvement
    from autogo_onnx.plans import Point


@dataclass(frozen=True)
class Chosen:
    """The model that won, its latency against the original, and the plan if it has fitted parts."""

    model: onnx.ModelProto
    measured: Measured
    point: Point | None = None


def report_on(job: Job, improvement: Improvement | None, chosen: Chosen) -> Report:
    """Everything a user may want to know of a run.

    Args:
        job: the run.
        improvement: what fitting found, if it was tried.
        chosen: the result.
    """
    result, measured, point = chosen.model, chosen.measured, chosen.point
    fidelity, metric = _judged(improvement, result, point)
    if improvement is not None and point is None and improvement.points:
        job.notes.append("no fitted plan both passed the gate and was faster")
    if job.counted is not None and job.counted.device is not None:
        job.notes.append(f"latencies are {job.counted.device.basis}")
        job.warnings.extend(job.counted.doubts(job.original, job.input_shapes))
    skips = [Skipped(s.names, s.reason, s.rule) for s in job.exact.skips]
    return Report(
        model=result,
        source=_source(job),
        level=job.level,
        target=job.options.target,
        seed=job.options.seed,
        before=replace(job.size(job.original), latency_ms=measured.ms_before),
        after=replace(job.size(result), latency_ms=measured.ms_after),
        latency_ratio=measured.ratio,
        latency_noise=measured.noise,
        latency_is=_latency_is(job),
        fidelity=fidelity,
        metric=metric,
        samples=_counts(improvement),
        rewrites=_rewrites(job, result),
        plan=_plan(point, measured.ms_before),
        pareto=_pareto(job, improvement),
        skipped=(*skips, *(improvement.skipped if improvement else ())),
        versions=installed_versions(),
        warnings=tuple(job.warnings),
        notes=tuple(job.notes),
        latency_table=job.table if job.options.target == "cpu" else None,
    )


def _latency_is(job: Job) -> LatencyIs:
    if job.counted is None:
        return "measured"
    return "counted" if job.counted.device is None else "predicted"


def _rewrites(job: Job, result: onnx.ModelProto) -> tuple[Rewrite, ...]:
    rows = [Rewrite("convert_opset", 1)] if opset_of(job.original) != job.opset else []
    for entry in job.exact.applied if result is not job.original else ():
        verdict = entry.verdict or Verdict(True)
        figures = (verdict.macs_delta, verdict.latency_ratio, verdict.latency_noise)
        rows.append(Rewrite(entry.rule, entry.count, entry.nodes_saved, *figures))
    return tuple(rows)


def _judged(
    improvement: Improvement | None, result: onnx.ModelProto, point: Point | None
) -> tuple[Fidelity | None, Metric | None]:
    if improvement is None:
        return None, None
    gate = improvement.gate
    verdict = point.verdict if point is not None else gate.judge_unfitted(result)
    fidelity, after = verdict.fidelity, verdict.metric
    if gate.before is not None and after is not None:
        name, lost = gate.ground.options.evaluate or "metric", verdict.lost
        bound = None if gate.before.samples is None else lost
        return fidelity, Metric(name, gate.before.value, after, bound)
    if fidelity.accuracy_before is not None and fidelity.accuracy_after is not None:
        return fidelity, Metric("top-1", fidelity.accuracy_before, fidelity.accuracy_after)
    return fidelity, None


def _counts(improvement: Improvement | None) -> SampleCounts:
    if improvement is None:
        return SampleCounts(0, 0)
    ground = improvement.gate.ground
    return SampleCounts(len(ground.fit), len(ground.held_out))


def _source(job: Job) -> ModelInfo:
    graph = job.original.graph
    inputs, outputs = (tuple(v.name for v in vs) for vs in (graph.input, graph.output))
    return ModelInfo(job.path, job.original.ir_version, job.opset, inputs, outputs)


def _plan(point: Point | None, before_ms: float | None) -> tuple[Replacement, ...]:
    return tuple(
        Replacement(
            site=choice.names,
            segment=choice.by,
            macs_delta=choice.macs_delta,
            latency_delta_ms=None if before_ms is None else -choice.saving * before_ms,
            nmse=choice.nmse,
            score=choice.score,
            params_delta=choice.params_delta,
        )
        for choice in (point.plan if point else ())
    )


def _pareto(job: Job, improvement: Improvement | None) -> tuple[ParetoPoint, ...]:
    if improvement is None:
        return ()
    from autogo_onnx.frontier import pareto

    return tuple(
        ParetoPoint(
            file=f"rank_{rank:02d}.onnx",
            latency_ratio=p.ratio,
            macs=job.size(p.model).macs,
            drop=p.verdict.fidelity.drop,
            drop_bound=p.verdict.fidelity.drop_bound,
            psnr_db=p.verdict.fidelity.psnr_db,
            model=p.model,
        )
        for rank, p in enumerate(pareto(improvement.points))
    )
