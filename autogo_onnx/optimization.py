"""The main job: a trained model in, a faster, verified model out.

exact rewrites -> (with samples) fitted replacements -> verification -> report. Whatever does not
pay on the target, or does not pass the gate, is dropped again, down to the model as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from autogo_onnx import given, runtime, verify
from autogo_onnx import model as model_file
from autogo_onnx.batching import sample_axes
from autogo_onnx.deadline import Clock, Deadline
from autogo_onnx.ending import checked_samples
from autogo_onnx.errors import InputError, NotComparable, OutOfTime, PromiseError
from autogo_onnx.job import Job, rewritten
from autogo_onnx.measured import measure
from autogo_onnx.one_thread import one_blas_thread
from autogo_onnx.options import Options
from autogo_onnx.outcome import Chosen, report_on
from autogo_onnx.progress import Progress, Silent
from autogo_onnx.report import Report
from autogo_onnx.resumption import checkpoints_of
from autogo_onnx.training import require_torch

if TYPE_CHECKING:
    from autogo_onnx.improvement import Improvement
OVERRUN = 1.1
"""So many times the budget may be used up where the end needs it."""


def optimize(
    model: onnx.ModelProto | Path | str,
    *,
    options: Options | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
    deliver: Callable[[Report], None] | None = None,
) -> Report:
    """Make a model faster without breaking it.

    Args:
        model: the trained model, or the path of its file.
        options: every choice; see `Options`.
        progress: told what happens.
        clock: of the budget; by default it starts now.
        deliver: is given the report as long as an interrupted run could still be gone on with.

    Returns:
        The report; `report.model` is the new model. It is not written. To a segment database of
        the user's own that can be written, the outcomes of fits are appended.

    Raises:
        InputError: a model, sample or option that cannot be used.
        PromiseError: a rewrite did not keep its promise.
    """
    options = options or Options()
    if options.distill is not None:
        require_torch()
    start = given.read(model, options, progress or Silent(), clock)
    with checkpoints_of(start) as checkpoints:
        report = _optimized(rewritten(start, checkpoints))
        if deliver is not None:
            deliver(report)
    return report


def _optimized(job: Job) -> Report:
    seconds = {"rewrite": round(job.deadline.elapsed(), 3)}
    improvement = _improve(job)
    seconds |= improvement.seconds if improvement else {}
    start = job.deadline.elapsed()
    job.progress.stage("verify")
    chosen = _choose(job, improvement)
    _check(job, chosen.model)
    _record(job, improvement, chosen.measured.ms_before)
    report = report_on(job, improvement, chosen)
    seconds["verify"] = round(job.deadline.elapsed() - start, 3)
    if job.options.quantize_check:
        start = job.deadline.elapsed()
        report = _in_int8(job, report)
        seconds["quantize"] = round(job.deadline.elapsed() - start, 3)
    seconds["total"] = round(job.deadline.elapsed(), 3)
    return replace(report, seconds=seconds)


def _improve(job: Job) -> Improvement | None:
    """Fitted replacements, where there are samples that can be told apart."""
    if job.level == "exact" or job.samples is None:
        if job.level == "exact" and job.options.calibration is None:
            job.notes.append(
                "only exact rewrites were made: with unlabelled samples (--calibration) segments "
                "can be replaced and fitted too"
            )
        return None
    if job.samples.whole:
        names = ", ".join(sorted(job.samples.whole))
        job.notes.append(f"inputs without a batch axis ({names}): nothing was fitted")
        return None
    # Exact rewriting needs none of this, and should not wait for it.
    from autogo_onnx.ground import survey
    from autogo_onnx.improvement import improve

    try:
        ground = survey(job, job.samples)
    except InputError as error:
        job.notes.append(f"nothing was fitted: {error}")
        return None
    try:
        axes = sample_axes(job.original, job.samples, threads=job.options.threads)
    except InputError as error:
        job.notes.append(f"the model does not keep samples apart: {error}; nothing was fitted")
        return None
    try:
        with one_blas_thread():
            return improve(replace(ground, sample_axes=axes))
    except OutOfTime:
        job.notes.append("nothing was fitted: the budget (--budget) was too short")
    except NotComparable as error:
        job.notes.append(f"nothing was fitted: {error}")
    return None


def _choose(job: Job, improvement: Improvement | None) -> Chosen:
    """The fitted plan, the exactly rewritten model or the original: the first that pays.

    A fitted plan must be faster beyond the noise; exact rewriting must only not be slower.
    """
    best = improvement.best if improvement else None
    if best is not None:
        measured = measure(job, best.model)
        if measured.ratio is not None and measured.ratio < 1.0 - (measured.noise or 0.0):
            return Chosen(best.model, measured, best)
        job.notes.append("the best fitted plan was dropped: it is not faster beyond the noise")
    measured = measure(
        job, job.exact.model, Deadline(OVERRUN * job.options.budget_s, job.deadline.clock)
    )
    if measured.ratio is None or measured.ratio <= 1.0 + (measured.noise or 0.0):
        return Chosen(job.exact.model, measured)
    job.notes.append(f"exact rewrites were dropped: they are slower here ({measured.ratio:.3f})")
    return Chosen(job.original, measure(job, job.original))


def _record(job: Job, improvement: Improvement | None, ms_before: float | None) -> None:
    """Outcomes of fits, for learning; the run does not depend on whether they can be kept."""
    path = job.options.segment_db
    if path is None or improvement is None or not improvement.outcomes:
        return
    from autogo_onnx.recording import is_own, record

    if not is_own(path):
        return
    try:
        record(improvement.gate.ground, improvement.outcomes, path, ms_before)
    except InputError as error:
        job.notes.append(f"outcomes of fits were not recorded: {error}")


def _in_int8(job: Job, report: Report) -> Report:
    """The report with how its model, and the original, fare in int8."""
    # ONNX Runtime's quantizer is not loaded where it is not asked for.
    from autogo_onnx.quantize_check import check

    return replace(report, quantized=check(job, report))


def _check(job: Job, result: onnx.ModelProto) -> None:
    """Last look before anything is written.

    Raises:
        PromiseError: inputs or outputs differ, the checker objects, or an output is not finite
            where the original's is.
    """
    problems = verify.signature_problems(job.original, result)
    if problems:
        raise PromiseError(f"the new model has another face: {problems[0]}")
    if result is job.original:
        return
    _check_format(result)
    if job.samples is None:
        return
    some = job.samples.take(range(min(checked_samples(job.pace.run_s), len(job.samples))))
    before, after = (
        verify.not_finite(runtime.open_session(m, threads=job.options.threads), some)
        for m in (job.original, result)
    )
    if after is not None and before is None:
        raise PromiseError(after)


def _check_format(model: onnx.ModelProto) -> None:
    try:
        model_file.check(model)
    except InputError as error:
        raise PromiseError(f"the new model is not valid: {error}") from error
