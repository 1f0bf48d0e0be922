"""One run of `optimize` at its start: the model read, rewritten exactly, its samples at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from autogo_onnx import calibration, opset, runtime
from autogo_onnx import model as model_file
from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import InputError
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

NOISE_SAMPLES = 256
FEWEST_SAMPLES = 32
RUN_LIMIT_S = 120.0
"""A loop of an untrusted model may never end."""


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
        level: the user's, or what the samples allow.
        options, progress: as given.
        table: latency prices, known and new.
        deadline: of the whole run.
        warnings, notes: for the report; they grow.
        counted: the target, where it is computed and not measured.
    """

    path: str
    opset: int
    original: onnx.ModelProto
    exact: Rewritten
    samples: Samples | None
    feed: Mapping[str, np.ndarray[Any, Any]] | None
    level: Level
    options: Options
    progress: Progress
    table: LatencyTable
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
    """Load, read the samples, rewrite exactly.

    Raises:
        InputError: the model, a sample or an option cannot be used.
    """
    if options.quantize_check and options.calibration is None:
        raise InputError("a model is quantized on samples: give --calibration to --quantize-check")
    deadline = Deadline(options.budget_s)
    target = counted(options)
    progress.stage("load")
    original = _loaded(model)
    level: Level = options.level or ("fitted" if options.calibration else "exact")
    warnings: list[str] = []
    samples = _samples(original, level, options, warnings)
    notes: list[str] = []
    feed = _feed(original, samples, options, notes)
    table = _table(options, warnings)
    progress.stage("rewrite")
    converted = _in_wanted_opset(original, feed, options, notes)
    exact = rewrite(
        converted,
        samples=[] if samples is None or feed is None else [feed],
        seed=options.seed,
        judge=Payoff(options, table, feed, _shapes(feed), target),
    )
    if exact.applied and exact.remark:
        notes.append(f"exact rewrites are {exact.remark}")
    return Job(
        path="" if isinstance(model, onnx.ModelProto) else str(model),
        opset=opset_of(original),
        original=converted,
        exact=exact,
        samples=samples,
        feed=feed,
        level=level,
        options=options,
        progress=progress,
        table=table,
        deadline=deadline,
        warnings=warnings,
        notes=notes,
        counted=target,
    )


def _loaded(model: onnx.ModelProto | Path | str) -> onnx.ModelProto:
    if not isinstance(model, onnx.ModelProto):
        return model_file.load(Path(model))
    if model_file.has_unread_data(model):
        raise InputError("the model's external data was not read: give its path instead")
    model_file.check(model)
    return model


def _runs(model: onnx.ModelProto, samples: Samples, options: Options, warnings: list[str]) -> bool:
    """Whether ONNX Runtime runs the model as it came; if not, nothing can be fitted or judged.

    Raises:
        InputError: the model loads, but refuses the user's samples.
    """
    try:
        session = runtime.open_session(model, threads=options.threads)
    except InputError as error:
        warnings.append(f"nothing was fitted, and nothing verified by running: {error}")
        return False
    try:
        runtime.run(session, None, next(samples.batches(1)), limit_s=RUN_LIMIT_S)
    except InputError as error:
        if options.calibration is not None:
            raise
        warnings.append(f"nothing was fitted: the noise does not suit the model: {error}")
        return False
    return True


def _samples(
    model: onnx.ModelProto, level: Level, options: Options, warnings: list[str]
) -> Samples | None:
    """Samples that the model runs on; None where there are none."""
    samples = _read_samples(model, level, options, warnings)
    if samples is not None and not _runs(model, samples, options, warnings):
        return None
    return samples


def _read_samples(
    model: onnx.ModelProto, level: Level, options: Options, warnings: list[str]
) -> Samples | None:
    if level == "fitted" and options.calibration is None:
        raise InputError("level 'fitted' needs samples: --calibration (or --level unverified)")
    if options.calibration is not None:
        samples = calibration.load(options.calibration, model, options)
        if level != "exact" and len(samples) < FEWEST_SAMPLES:
            raise InputError(
                f"{options.calibration} holds {len(samples)} samples: fitting and judging need at "
                f"least {FEWEST_SAMPLES} (512 is good)"
            )
        if level != "exact" and all((a == a[:1]).all() for a in samples.feeds.values()):
            raise InputError(
                f"all samples of {options.calibration} are equal: nothing can be fitted"
            )
        return samples
    if level == "unverified":
        warnings.append(
            "unverified: fitted on noise, so the accuracy on real data is unknown; "
            "give samples (--calibration)"
        )
        return calibration.noise(model, NOISE_SAMPLES, seed=options.seed)
    return None


def _feed(
    model: onnx.ModelProto, samples: Samples | None, options: Options, notes: list[str]
) -> Mapping[str, np.ndarray[Any, Any]] | None:
    """One batch to measure with; without samples, noise that the model has been seen to take."""
    if samples is not None:
        return next(samples.batches(1))
    try:
        feed = next(calibration.noise(model, 1, seed=options.seed).batches(1))
        if options.target == "cpu":
            session = runtime.open_session(model, optimize=False)
            runtime.run(session, None, feed, limit_s=RUN_LIMIT_S)
    except InputError as error:
        notes.append(f"latency was not measured: {error}")
        return None
    return feed


def _in_wanted_opset(
    model: onnx.ModelProto,
    feed: Mapping[str, np.ndarray[Any, Any]] | None,
    options: Options,
    notes: list[str],
) -> onnx.ModelProto:
    before = opset_of(model)
    if options.opset is None or options.opset == before:
        return model
    notes.append(f"converted from opset {before} to {options.opset}, as asked, and verified")
    samples = [] if feed is None else [feed]
    return opset.convert(model, options.opset, samples, seed=options.seed)


def _shapes(feed: Mapping[str, np.ndarray[Any, Any]] | None) -> dict[str, Shape] | None:
    return None if feed is None else {name: array.shape for name, array in feed.items()}


def _table(options: Options, warnings: list[str]) -> LatencyTable:
    version, threads = runtime.version(), options.threads
    if options.latency_table is None:
        return LatencyTable(version, threads)
    table = LatencyTable.read(options.latency_table)
    warnings += table.differences(onnxruntime=version, threads=threads)
    return table
