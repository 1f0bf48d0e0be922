"""The paper's workflow: a network in, a Pareto set of models out, each ready to be trained.

base -> search over edit lists -> the front's models built and checked -> latency -> report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from hashlib import blake2b
from math import inf
from pathlib import Path

import onnx

from autogo_onnx.deadline import Deadline
from autogo_onnx.evolution import (
    Counts,
    Evolution,
    Judges,
    PredictedAccuracy,
    Run,
)
from autogo_onnx.evolution import evolve as search
from autogo_onnx.evolved.base import Base, base_of
from autogo_onnx.evolved.options import EvolveOptions
from autogo_onnx.evolved.presentation import Presentation, Presented
from autogo_onnx.evolved.report import EvolveReport, IterationCounts
from autogo_onnx.evolved.request import limits_of, settings_of, suiting
from autogo_onnx.evolved.timing import Timing, timing
from autogo_onnx.predictor import ACCURACY, open_predictor
from autogo_onnx.progress import Progress, Silent
from autogo_onnx.report import installed_versions
from autogo_onnx.segment_db.build import code_version
from autogo_onnx.segment_db.store import Store, open_store
from autogo_onnx.segment_db.workers import Workers, local, on_cluster
from autogo_onnx.sizes import digest
from autogo_onnx.work_folder import WorkFolder, work_folder

LEAST_SEARCH_SHARE = 0.5
"""Of the budget, however long building, measuring and writing models take."""
_KEY_BYTES = 32


def _nowhere(report: EvolveReport) -> None:
    """Nothing is delivered: the caller has the report."""


def evolve(
    source: onnx.ModelProto | Path | str,
    *,
    options: EvolveOptions | None = None,
    progress: Progress | None = None,
    deliver: Callable[[EvolveReport], None] = _nowhere,
) -> EvolveReport:
    """Evolve an architecture.

    Args:
        source: a model, the path of its file, or the name of a published network as `db network`
            has it.
        options: every choice; see `EvolveOptions`.
        progress: told what happens.
        deliver: is given the report while an interrupted run can still go on.

    Returns:
        The report; `report.models[0].model` is the best predicted one as a model. Nothing is
        written.

    Raises:
        InputError: a model or option that cannot be used.
    """
    options, progress = options or EvolveOptions(), progress or Silent()
    deadline = Deadline(inf if options.budget_s is None else options.budget_s)
    settings, limits = settings_of(options), limits_of(options)
    store = open_store(options.segment_db)
    progress.stage("load")
    base = base_of(source, options.seed)
    told = timing(base, options)
    seconds = {"load": deadline.elapsed()}
    judges = Judges(PredictedAccuracy(base.graph, options.predictor), latency_ms=told.of_part)
    with _folder(base, store, options) as folder, _workers(options) as workers:
        progress.stage("search", options.iterations)
        # A model is built and written in about the time that it takes to read one.
        reserved = options.keep * (seconds["load"] + told.measuring_s)
        until = _search_deadline(deadline, reserved)
        run = Run(store, workers, partial(_tell, progress), until, folder)
        found = search(base.graph, judges, settings, suiting(base, limits), run)
        seconds["search"] = deadline.elapsed() - seconds["load"]
        presented = Presentation(base, told, options, deadline).of(found.front, progress)
        seconds["build and measure"] = deadline.elapsed() - sum(seconds.values())
        report = _report(base, told, options, found, presented, seconds)
        deliver(report)
    return report


def _report(
    base: Base,
    told: Timing,
    options: EvolveOptions,
    found: Evolution,
    presented: Presented,
    seconds: Mapping[str, float],
) -> EvolveReport:
    return EvolveReport(
        source=base.name,
        base=told.base_size(presented.models),
        base_model=base.model,
        models=presented.models,
        unit=str(open_predictor(options.predictor).facts(ACCURACY)["predicts"]),
        latency_is=told.kind,
        target=options.target,
        search_unit=options.unit,
        seed=options.seed,
        front=len(found.front),
        history=found.history,
        iterations=tuple(map(_counts, found.counts)),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        versions=installed_versions(),
        warnings=(
            *_doubts(base),
            *told.warnings,
            *presented.warnings,
            *_cut_short(found, options),
        ),
        notes=_notes(base),
    )


def _doubts(base: Base) -> tuple[str, ...]:
    """Why the predictions may be worth little.

    An EDSR that was evolved like a classifier and then trained lost 2 dB.
    """
    if all(len(shape) == 2 for shape in base.graph.output_shapes):
        return ()
    return (
        "no classifier: what is predicted was learnt from classifiers and may mean nothing here",
    )


def _search_deadline(deadline: Deadline, reserved_s: float) -> Deadline | None:
    """When the search must end so that some seconds are left; None where it has all the time."""
    if deadline.seconds == inf:
        return None
    return deadline.part(max(LEAST_SEARCH_SHARE, 1 - reserved_s / max(deadline.left(), 1e-3)))


def _workers(options: EvolveOptions) -> AbstractContextManager[Workers]:
    if options.scheduler is not None:
        return on_cluster(options.scheduler, code_version)
    return local(options.jobs)


def _folder(
    base: Base, store: Store, options: EvolveOptions
) -> AbstractContextManager[WorkFolder | None]:
    """Where the search can go on; for this base, database, predictor and code alone."""
    if options.work_dir is None:
        return nullcontext()
    key = blake2b(digest_size=_KEY_BYTES)
    for text in (code_version(), digest(base.model), options.target):
        key.update(text.encode() + b"\0")
    for path in (store.path, options.predictor):
        key.update(b"" if path is None else blake2b(path.read_bytes()).digest())
    return work_folder(options.work_dir, key.digest())


def _tell(progress: Progress, found: Evolution) -> None:
    last = found.counts[-1]
    progress.advance()
    progress.note(
        f"iteration {last.iteration}: {last.children} new networks from {last.parents} parents,"
        f" {len(found.front)} on the front, best predicted {found.front[0].change:+.3f}"
    )


def _counts(counts: Counts) -> IterationCounts:
    return IterationCounts(
        iteration=counts.iteration,
        parents=counts.parents,
        tried=counts.tried,
        children=counts.children,
        refused=counts.refused,
        seconds=round(counts.seconds, 3),
    )


def _cut_short(found: Evolution, options: EvolveOptions) -> list[str]:
    done = len(found.counts)
    if done == options.iterations:
        return []
    return [f"the budget ended the search after {done} of {options.iterations} iterations"]


def _notes(base: Base) -> tuple[str, ...]:
    notes = ["what is predicted is accuracy after training; train the models, and the base, alike"]
    if base.untouchable:
        notes.append(f"{len(base.untouchable)} operators cannot be replaced in this file")
    return tuple(notes)
