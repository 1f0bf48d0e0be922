"""What a run of `optimize` is given: the model, samples that it runs on, and the choices made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import onnx

from autogo_onnx import calibration, runtime
from autogo_onnx import model as model_file
from autogo_onnx.deadline import Clock
from autogo_onnx.errors import InputError
from autogo_onnx.isolation import Died, try_apart
from autogo_onnx.options import Level, Options
from autogo_onnx.progress import Progress
from autogo_onnx.samples import Samples

NOISE_SAMPLES = 256
FEWEST_SAMPLES = 32
RUN_LIMIT_S = 120.0
"""A loop of an untrusted model may never end."""
TRIAL_LIMIT_S = 5.0
"""To see whether a run that nothing depends on dies."""

Feed = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Pace:
    """How fast a model is here: seconds to open a session, and for one run of one batch."""

    open_s: float = 0.0
    run_s: float = 0.0


@dataclass(frozen=True)
class Given:
    """What a run begins with.

    Attributes:
        path: of the model's file; empty for a model in memory.
        model: as it came.
        samples: None where nothing is to be fitted or judged.
        feed: one batch to measure with; None where latency is no matter or the model does not run.
        pace: of the model; all 0 where it was not run.
        level: the user's, or what the samples allow.
        options, progress: as given.
        clock: of the whole run.
        warnings, notes: for the report; they grow.
    """

    path: str
    model: onnx.ModelProto
    samples: Samples | None
    feed: Feed | None
    pace: Pace
    level: Level
    options: Options
    progress: Progress
    clock: Clock
    warnings: list[str]
    notes: list[str]


def read(
    model: onnx.ModelProto | Path | str,
    options: Options,
    progress: Progress,
    clock: Clock | None = None,
) -> Given:
    """Load the model and the samples, and see whether it runs on them.

    Args:
        model: the trained model, or the path of its file.
        options: every choice.
        progress: told what happens.
        clock: started with the command; by default now.

    Raises:
        InputError: the model, a sample or a combination of options cannot be used.
    """
    if options.quantize_check and options.calibration is None:
        raise InputError("a model is quantized on samples: give --calibration to --quantize-check")
    if options.distill is not None and options.calibration is None:
        raise InputError("what is trained is judged on other samples: give --calibration, too")
    if options.distill is None and (options.distill_labels or options.epochs):
        raise InputError("--distill-labels and --epochs say how to train: give --distill")
    if options.gate != "auto" and options.evaluate is not None:
        raise InputError(f"--evaluate gates by a metric: leave it or --gate {options.gate} out")
    if options.gate == "values" and options.labels is not None:
        raise InputError("labels are of classes, not of values: leave --labels or --gate out")
    clock = clock or Clock()
    progress.stage("load")
    loaded = _loaded(model)
    level: Level = options.level or ("fitted" if options.calibration else "exact")
    warnings: list[str] = []
    notes: list[str] = []
    samples, pace = _samples(loaded, level, options, warnings)
    feed: Feed | None
    if samples is None:
        feed, pace = _noise(loaded, options, notes)
    else:
        feed = next(samples.batches(1))
    return Given(
        path="" if isinstance(model, onnx.ModelProto) else str(model),
        model=loaded,
        samples=samples,
        feed=feed,
        pace=pace,
        level=level,
        options=options,
        progress=progress,
        clock=clock,
        warnings=warnings,
        notes=notes,
    )


def _loaded(model: onnx.ModelProto | Path | str) -> onnx.ModelProto:
    if not isinstance(model, onnx.ModelProto):
        return model_file.load(Path(model))
    if model_file.has_unread_data(model):
        raise InputError("the model's external data was not read: give its path instead")
    model_file.check(model)
    return model


def _samples(
    model: onnx.ModelProto, level: Level, options: Options, warnings: list[str]
) -> tuple[Samples | None, Pace]:
    """Samples that the model runs on, and how fast; None where there are none.

    Raises:
        InputError: the model loads, but refuses the user's samples.
    """
    samples = _read_samples(model, level, options, warnings)
    if samples is None:
        return None, Pace()
    start = monotonic()
    try:
        session = runtime.open_session(model, threads=options.threads)
    except InputError as error:
        warnings.append(f"nothing was fitted, and nothing verified by running: {error}")
        return None, Pace()
    opened = monotonic()
    try:
        if options.calibration is None:
            try_apart(model, samples, optimize=True, limit_s=RUN_LIMIT_S)
        begun = monotonic()
        runtime.run(session, None, next(samples.batches(1)), limit_s=RUN_LIMIT_S)
    except InputError as error:
        if options.calibration is not None:
            raise
        warnings.append(f"nothing was fitted: the noise does not suit the model: {error}")
        return None, Pace()
    return samples, Pace(opened - start, monotonic() - begun)


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


def _noise(model: onnx.ModelProto, options: Options, notes: list[str]) -> tuple[Feed | None, Pace]:
    """One batch of noise that the model has been seen to take, where latency is measured."""
    pace = Pace()
    try:
        noise = calibration.noise(model, 1, seed=options.seed)
        feed = next(noise.batches(1))
        if options.target != "cpu":
            return _harmless(model, noise), pace
        try_apart(model, noise, optimize=False, limit_s=RUN_LIMIT_S)
        start = monotonic()
        session = runtime.open_session(model, optimize=False)
        opened = monotonic()
        runtime.run(session, None, feed, limit_s=RUN_LIMIT_S)
        pace = Pace(opened - start, monotonic() - opened)
    except InputError as error:
        notes.append(f"latency was not measured: {error}")
        return None, pace
    return feed, pace


def _harmless(model: onnx.ModelProto, noise: Samples) -> Feed | None:
    """One batch of noise, unless ONNX Runtime dies of it: its shapes tell what is counted."""
    try:
        try_apart(model, noise, optimize=False, limit_s=TRIAL_LIMIT_S)
    except Died:
        return None
    except InputError:
        pass
    return next(noise.batches(1))
