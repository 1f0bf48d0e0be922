"""From a plan's model to a trained one, within the time there is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import torch

from autogo_onnx.deadline import Deadline
from autogo_onnx.distillation.lessons import Lessons
from autogo_onnx.distillation.pace import fastest_threads
from autogo_onnx.distillation.student import Student
from autogo_onnx.distillation.teacher import Teacher
from autogo_onnx.errors import InputError
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.progress import Progress
from autogo_onnx.training.loop import Pace, Trainer
from autogo_onnx.training.workflow import threads

BATCH = 64
STEPS = 1_500
"""Wanted where the user says nothing: about ten epochs on 10,000 samples."""
MOST_EPOCHS = 30
RATES = (0.03, 0.01, 0.003, 0.001)
"""Shares of its own size by which a weight may move in a step, at the highest; deep networks, whose
layers all move at once, stand less. The first is taken that does not throw the student back."""
_THROWN_BACK = 2.0
"""So many times the loss that it began with; measured on a CIFAR-10 ResNet-20, a student that loses
more does not find back within a thousand steps."""
_FIRST, _LATEST, _WATCHED = 5, 10, 0.15
"""Steps whose mean loss is the beginning and the present; the share of all steps to look so."""
_WEIGHT_DECAY = 1e-4
_SLACK = 0.02
"""By such a share of its steps a run may be behind the time."""


@dataclass(frozen=True)
class School:
    """What all students have in common.

    Attributes:
        lessons: what they see.
        teacher: the original, on the samples to learn from.
        epochs: rounds over these; None: so many that there are enough steps.
        seed: of the order of samples.
        table: of prices: on how many threads to learn is one of them.
        progress: is told of every step.
        rounds: that students have behind them.
    """

    lessons: Lessons
    teacher: Teacher
    epochs: int | None
    seed: int
    table: LatencyTable
    progress: Progress
    rounds: int = 0

    @property
    def rates(self) -> tuple[float, ...]:
        """To be tried one after the other; whoever has learnt already is not to forget."""
        return RATES[1:] if self.rounds else RATES

    @property
    def steps(self) -> int:
        """Of a run whose time does not end before."""
        count = len(self.lessons.learning)
        per_epoch = max(1, count // min(BATCH, count))
        epochs = self.epochs or min(MOST_EPOCHS, max(1, round(STEPS / per_epoch)))
        return epochs * per_epoch


def learn(model: onnx.ModelProto, school: School, deadline: Deadline) -> onnx.ModelProto:
    """Train a plan's model to answer as the teacher does.

    The learning rate falls with the steps or with the time, whichever is further on: where time is
    short the run is shorter, but complete. On another number of threads the weights differ in their
    last digits.

    Raises:
        InputError: the model cannot be trained, or diverges even at a low learning rate.
    """
    for rate in school.rates[:-1]:
        try:
            return _run(model, school, deadline, rate)
        except Diverged as error:
            school.progress.note(f"{error}: it starts again with smaller steps")
    return _run(model, school, deadline, school.rates[-1])


class Diverged(InputError):
    """The loss grew, or is no number any more."""


def _run(
    model: onnx.ModelProto, school: School, deadline: Deadline, rate: float
) -> onnx.ModelProto:
    samples = school.lessons.learning
    student = Student(model, school.teacher)
    batch = min(BATCH, len(samples))
    epochs = school.steps // max(1, len(samples) // batch)
    seed = school.seed + school.rounds
    pace = Pace(epochs, batch, student.piece, rate, _WEIGHT_DECAY, seed, is_relative=True)
    trainer = Trainer(student.graph, len(samples), pace)
    school.progress.stage("distil", school.steps)
    with threads(fastest_threads(lambda: student.try_out(batch), school.table)):
        _take_steps(trainer, student, school, deadline)
    student.graph.eval()
    if not trainer.is_finite():
        raise Diverged("the training diverged")
    return student.model()


def _take_steps(trainer: Trainer, student: Student, school: School, deadline: Deadline) -> None:
    """All of them, or as many as there is time for."""
    start, whole, steps = deadline.elapsed(), max(deadline.left(), 1e-9), school.steps
    losses: list[float] = []
    for step, (chosen, generator) in enumerate(_batches(trainer, school)):
        by_time = steps * (deadline.elapsed() - start) / whole
        # Only a run that falls behind looks at the clock: others repeat to the bit.
        done = by_time if by_time > step + 1 + _SLACK * steps else step
        if by_time >= steps:
            break
        losses.append(trainer.step(chosen, done, student.loss, generator))
        _check(losses, is_early=done < _WATCHED * steps)
        school.progress.advance()


def _check(losses: list[float], *, is_early: bool) -> None:
    """Break a run off that leads nowhere.

    Raises:
        Diverged: the last loss is no number, or the last ones tell of a student thrown back.
    """
    if not math.isfinite(losses[-1]):
        raise Diverged("the training diverged")
    if is_early and len(losses) >= _FIRST + _LATEST:
        before, now = sum(losses[:_FIRST]) / _FIRST, sum(losses[-_LATEST:]) / _LATEST
        if now > _THROWN_BACK * before:
            raise Diverged(f"the loss grew from {before:.3f} to {now:.3f}")


def _batches(trainer: Trainer, school: School) -> Iterator[tuple[np.ndarray, torch.Generator]]:
    for number in range(school.steps // trainer.steps_per_epoch):
        yield from trainer.batches(number)
