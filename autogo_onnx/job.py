"""One run of `optimize` at its start: the model rewritten exactly, its samples at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import onnx

from autogo_onnx import given, opset, runtime
from autogo_onnx.checkpoints import Checkpoints
from autogo_onnx.deadline import Deadline
from autogo_onnx.ending import ending_s
from autogo_onnx.given import Feed, Given, Pace
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.messages import opset_of
from autogo_onnx.opgraph import Shape
from autogo_onnx.options import Level, Options
from autogo_onnx.payoff import Payoff
from autogo_onnx.progress import Progress
from autogo_onnx.report import Size
from autogo_onnx.rewriters import Rewritten, rewrite
from autogo_onnx.samples import Samples
from autogo_onnx.sizes import size
from autogo_onnx.targets import Counted, counted

REWRITING_SHARE = 0.25
"""Of the time, for measuring whether rewrites pay."""


@dataclass(frozen=True)
class Job:
    """What a run works on.

    Attributes:
        path: of the model's file; empty for a model in memory.
        opset: version of the ONNX operators in that file.
        original: the model as it came, but in the opset that the user asked for.
        exact: the model as exact rules left it.
        samples: None where nothing is to be fitted or judged.
        feed: one batch to measure with; None where latency is no matter or the model does not run.
        pace: of the model as it came.
        level: the user's, or what the samples allow.
        options, progress: as given.
        table: latency prices, known and new.
        checkpoints: what an interrupted run has found, and this one finds.
        deadline: of the search; what the end of the run needs is left free.
        warnings, notes: for the report; they grow.
        counted: the target, where it is computed and not measured.
    """

    path: str
    opset: int
    original: onnx.ModelProto
    exact: Rewritten
    samples: Samples | None
    feed: Feed | None
    pace: Pace
    level: Level
    options: Options
    progress: Progress
    table: LatencyTable
    checkpoints: Checkpoints
    deadline: Deadline
    warnings: list[str]
    notes: list[str]
    counted: Counted | None = None

    @property
    def input_shapes(self) -> Mapping[str, Shape] | None:
        """Full shapes of the batch to measure with; None where there is none."""
        return _shapes(self.feed)

    def size(self, model: onnx.ModelProto) -> Size:
        """What a model costs by counting, on inputs of the samples' size."""
        known = self._sizes.get(id(model))
        if known is None or known[0] is not model:
            known = self._sizes[id(model)] = (model, size(model, self.input_shapes))
        return known[1]

    def counted_cost(self, model: onnx.ModelProto) -> float:
        """What a model costs on the target, which is counted."""
        assert self.counted is not None, "the target is measured"
        return self.counted.of_model(model, self.input_shapes, self.size(model))

    def counted_ratio(self, model: onnx.ModelProto) -> float:
        """Counted cost of a model over the original's; 1 where the original has none."""
        before = self.counted_cost(self.original)
        return self.counted_cost(model) / before if before else 1.0

    @cached_property
    def _sizes(self) -> dict[int, tuple[onnx.ModelProto, Size]]:
        """Costs known by now, with the models so that no other gets their identity."""
        return {}


def begin(model: onnx.ModelProto | Path | str, options: Options, progress: Progress) -> Job:
    """Load, read the samples, rewrite exactly; nothing is kept for another run.

    Raises:
        InputError: the model, a sample or an option cannot be used.
    """
    return rewritten(given.read(model, options, progress), Checkpoints())


def rewritten(start: Given, checkpoints: Checkpoints) -> Job:
    """The model in the wanted opset and rewritten exactly, and all that further work needs.

    Raises:
        InputError: an option cannot be used.
        PromiseError: a rewrite did not keep its promise.
    """
    options = start.options
    target = counted(options)
    is_measured = target is None and start.feed is not None
    pace = start.pace
    ending = ending_s(options.budget_s, pace.open_s, pace.run_s, is_measured=is_measured)
    deadline = Deadline(options.budget_s - ending, start.clock)
    table = _table(options, checkpoints, start.warnings)
    start.progress.stage("rewrite")
    converted = _in_wanted_opset(start)
    exact = rewrite(
        converted,
        samples=[] if start.samples is None or start.feed is None else [start.feed],
        seed=options.seed,
        judge=Payoff(
            options,
            table,
            start.feed,
            _shapes(start.feed),
            target,
            deadline.part(REWRITING_SHARE),
        ),
    )
    if exact.applied and exact.remark:
        start.notes.append(f"exact rewrites are {exact.remark}")
    return Job(
        path=start.path,
        opset=opset_of(start.model),
        original=converted,
        exact=exact,
        samples=start.samples,
        feed=start.feed,
        pace=start.pace,
        level=start.level,
        options=options,
        progress=start.progress,
        table=table,
        checkpoints=checkpoints,
        deadline=deadline,
        warnings=start.warnings,
        notes=start.notes,
        counted=target,
    )


def _in_wanted_opset(start: Given) -> onnx.ModelProto:
    options, before = start.options, opset_of(start.model)
    if options.opset is None or options.opset == before:
        return start.model
    start.notes.append(f"converted from opset {before} to {options.opset}, as asked, and verified")
    samples = [] if start.feed is None else [start.feed]
    return opset.convert(start.model, options.opset, samples, seed=options.seed)


def _shapes(feed: Feed | None) -> dict[str, Shape] | None:
    return None if feed is None else {name: array.shape for name, array in feed.items()}


def _table(options: Options, checkpoints: Checkpoints, warnings: list[str]) -> LatencyTable:
    version, threads = runtime.version(), options.threads
    if options.latency_table is None:
        return LatencyTable(version, threads, checkpoints=checkpoints)
    table = LatencyTable.read(options.latency_table)
    warnings += table.differences(onnxruntime=version, threads=threads)
    return replace(table, checkpoints=checkpoints)
