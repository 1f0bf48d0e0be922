"""Training from a file to a verified model, top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from autogo_onnx import model as model_file
from autogo_onnx import runtime
from autogo_onnx.progress import Progress, Silent
from autogo_onnx.rewriters import fuse_conv_bn, rewrite
from autogo_onnx.torch_graph import with_weights
from autogo_onnx.training import checkpoint
from autogo_onnx.training.beginning import Beginning, begin
from autogo_onnx.training.course import Course
from autogo_onnx.training.data import load
from autogo_onnx.training.loop import Pace, Trainer
from autogo_onnx.training.options import TrainOptions
from autogo_onnx.training.preparation import draw, settle, with_normalization
from autogo_onnx.training.verification import verify
from autogo_onnx.work_folder import WorkFolder, work_folder


@dataclass(frozen=True)
class Epoch:
    """How it went: the mean loss, and the metric on the held-out samples after it."""

    loss: float
    figure: float


@dataclass(frozen=True)
class Trained:
    """What came out.

    Attributes:
        model: with the new weights; everything else as it was.
        metric: its name; higher is better.
        before, after: on the held-out samples.
        epochs: one entry each, in order.
        samples, held_out: how many.
        parameters: how many numbers were learnt.
        difference: largest between ONNX Runtime and torch, of an output's largest value.
        notes: worth telling.
        seconds: of this run.
    """

    model: onnx.ModelProto
    metric: str
    before: float
    after: float
    epochs: tuple[Epoch, ...]
    samples: int
    held_out: int
    parameters: int
    difference: float
    notes: tuple[str, ...]
    seconds: float


def train(
    model: onnx.ModelProto | Path, options: TrainOptions, progress: Progress | None = None
) -> Trained:
    """Train a model, and check that ONNX Runtime computes what torch did.

    Args:
        model: a path, or a model with its weights; it is not changed.
        options: what to train on, and how.
        progress: is told of every epoch.

    Raises:
        InputError: the model, the data or an option cannot be used.
        PromiseError: ONNX Runtime does not agree with torch on the result.
    """
    progress, start = progress or Silent(), time.monotonic()
    progress.stage("load")
    original = model if isinstance(model, onnx.ModelProto) else model_file.load(model)
    runtime.open_session(original)  # refuses what could not be verified in the end
    teacher = None if options.teacher is None else model_file.load(options.teacher)
    data = load(options, original)
    with threads(options.threads):
        prepared = with_normalization(original) if options.normalization == "insert" else original
        beginning = begin(prepared, teacher, data, options)
        course, held_out = beginning.course, beginning.held_out
        before = course.figure(held_out, beginning.piece)
        if options.from_scratch:
            draw(course.graph, options.seed)
        elif prepared is not original:
            settle(course.graph, beginning.some())
        key = checkpoint.key(original, teacher, data, options)
        epochs = _learn(beginning, key, progress)
        progress.stage("verify")
        result = _written(course, prepared, original)
        difference = verify(result, course.graph, held_out.take(np.arange(2)).inputs)
    after = epochs[-1].figure if epochs else before
    return Trained(
        model=result,
        metric=course.metric,
        before=before,
        after=after,
        epochs=tuple(epochs),
        samples=len(course.data),
        held_out=len(held_out),
        parameters=sum(p.numel() for p in course.graph.parameters()),
        difference=difference,
        notes=(*beginning.notes, *_warned(course, before, after)),
        seconds=time.monotonic() - start,
    )


def _warned(course: Course, before: float, after: float) -> list[str]:
    if after >= before or course.options.from_scratch:
        return []
    return [
        f"{course.metric} fell on the held-out samples: try another --learning-rate or --epochs"
    ]


def _learn(beginning: Beginning, key: bytes, progress: Progress) -> list[Epoch]:
    """All epochs, from the last one that an earlier run finished."""
    course, held_out, piece = beginning.course, beginning.held_out, beginning.piece
    options = course.options
    batch = min(options.batch, len(course.data))
    pace = Pace(
        options.epochs, batch, piece, options.learning_rate, options.weight_decay, options.seed
    )
    trainer, done = Trainer(course.graph, len(course.data), pace), list[Epoch]()
    folder = nullcontext() if options.work_dir is None else work_folder(options.work_dir, key)
    with folder as kept:
        done = _resume(trainer, kept)
        if done:
            progress.note(f"goes on after epoch {len(done)}, which an earlier run finished")
        for number in range(len(done), options.epochs):
            progress.stage(f"epoch {number + 1} of {options.epochs}", trainer.steps_per_epoch)
            loss = trainer.epoch(number, course.loss, progress)
            done.append(Epoch(loss, course.figure(held_out, piece)))
            progress.note(f"loss {loss:.4f}, held-out {course.task.metric} {done[-1].figure:.4f}")
            _keep(trainer, done, kept)
    return done


def _resume(trainer: Trainer, folder: WorkFolder | None) -> list[Epoch]:
    stored = folder.get(checkpoint.PART) if folder is not None else None
    if stored is None:
        return []
    state = checkpoint.unpack(stored)
    trainer.restore(state)
    return [Epoch(float(loss), float(figure)) for loss, figure in state["epochs"]]


def _keep(trainer: Trainer, done: list[Epoch], folder: WorkFolder | None) -> None:
    if folder is not None:
        epochs = np.array([(e.loss, e.figure) for e in done], np.float64)
        folder.put(checkpoint.PART, [checkpoint.pack({**trainer.state(), "epochs": epochs})])


def _written(
    course: Course, prepared: onnx.ModelProto, original: onnx.ModelProto
) -> onnx.ModelProto:
    """The model with its new weights; what was added to train it is folded away."""
    result = with_weights(prepared, course.graph.arrays())
    if prepared is original:
        return result
    return rewrite(result, rules=(fuse_conv_bn.RULE,)).model


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Within it, torch computes on so many threads."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
