"""Plans that save too much to pass are trained back until they do.

How far a trained plan is beyond the gate grows with the error of its outputs before training. So
the error is sought at which training just makes up for it, as the gate is sought along the score of
untrained plans (`frontier.py`); and each time the plan is trained that should save most within it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log
from typing import TYPE_CHECKING

import onnx

from autogo_onnx.bracket import Bracket
from autogo_onnx.deadline import Deadline
from autogo_onnx.distillation.lessons import Lessons
from autogo_onnx.errors import InputError, OutOfTime
from autogo_onnx.excess import excess
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.frontier import closing_error, promising
from autogo_onnx.gate import Gate, Verdict
from autogo_onnx.ground import Ground
from autogo_onnx.kept_plans import remembered
from autogo_onnx.plans import Plans, Point
from autogo_onnx.sizes import digest

if TYPE_CHECKING:
    from autogo_onnx.distillation.learning import School

MOST_TRAINED = 12
TRAINING_GAIN = 4.0
"""Times the error at which the gate closes, for the first plan to train. On Fashion-MNIST, training
left between a sixth and a quarter of the expected loss."""
STRIDE = log(3.0)
"""How far the error may go from one plan to the next. There is time for three or so, and one far
beyond what training makes up for tells little."""
SHARES = (0.35, 0.5, 0.85)
"""Of the time that is left, at the most, for the first plan, the second and each one after: where
there is time for three, all take about as long, so that they tell of each other."""
LEAST_S = 5.0
"""Less is not worth beginning with."""
TEACHER_MEMORY = 0.25
"""Of the memory, for the original's answers."""


def distil(plans: Plans, material: Lessons) -> list[Point]:
    """Train plans back on the user's samples and judge them on samples that none of them saw.

    Args:
        plans: to choose from, some of them judged in closed form.
        material: the samples.

    Returns:
        The trained plans, in the order of their making; they are as fast as the untrained ones.
    """
    ground = plans.ground
    ground.progress.stage("distil")
    points = _Course(ground, material, plans.gate).search(plans)
    has_metric = ground.options.evaluate is not None
    judge = "by the metric" if has_metric else f"on {len(material.judging)} others"
    learnt = f"{len(points)} plans were trained back on {len(material.learning)} samples"
    ground.job.notes.append(f"{learnt} and judged {judge}")
    return points


@dataclass(frozen=True)
class _Course:
    """What all plans share that are trained back."""

    ground: Ground
    material: Lessons
    gate: Gate

    @cached_property
    def judge(self) -> Gate:
        """The gate, on samples that nothing learns from."""
        folds = ((self.material.learning, self.material.judging),)
        return Gate(self.ground, folds, first=self.gate)

    @cached_property
    def school(self) -> School:
        """What students see."""
        # torch takes a second to load, and is not there everywhere.
        from autogo_onnx.distillation.learning import School
        from autogo_onnx.distillation.teacher import Teacher

        options, learning = self.ground.options, self.material.learning
        memory = int(TEACHER_MEMORY * options.memory_bytes)
        original = self.ground.job.original
        teacher = Teacher(
            original,
            learning,
            memory_bytes=memory,
            threads=options.threads,
            without=self.ground.sample_axes,
            quantities=self.ground.quantities,
        )
        table, progress = self.ground.job.table, self.ground.progress
        return School(self.material, teacher, options.epochs, options.seed, table, progress)

    def search(self, plans: Plans) -> list[Point]:
        """The trained plans, one after the other while there is time."""
        error, trained = closing_error(plans), dict[tuple[int, ...], Point]()
        if error is None:
            return []
        bracket = Bracket(log(TRAINING_GAIN * error), STRIDE)
        with suppress(OutOfTime):
            for turn in range(MOST_TRAINED):
                goal = bracket.next()
                chosen = promising(plans, exp(goal), turn, trained)
                share = SHARES[min(len(trained), len(SHARES) - 1)]
                learnt = None if chosen in trained else self._trained(plans, chosen, share)
                if learnt is not None:
                    trained[chosen] = learnt
                    beyond = excess(learnt.verdict, self.ground.options)
                    bracket.note(goal, beyond, passes=learnt.passes)
        return list(trained.values())

    def _trained(self, plans: Plans, chosen: tuple[int, ...], share: float) -> Point | None:
        """The plan of some choices, trained back; None where it cannot be, or there is none.

        Args:
            plans: to choose from.
            chosen: numbers of the choices.
            share: of the time that is left, for the training.

        Raises:
            OutOfTime: the budget has ended.
        """
        if not chosen:
            return None
        deadline = self.ground.job.deadline
        if not plans.has_time(chosen, deadline):
            raise OutOfTime
        point = plans.realized(chosen)
        if point is None:
            return None
        if not deadline.has(LEAST_S + self.judge.seconds):
            raise OutOfTime
        return self._learnt(point, deadline.part(share))

    def _learnt(self, point: Point, deadline: Deadline) -> Point | None:
        """The plan trained back, or remembered from an interrupted run."""
        made = remembered(self.ground, self._key(point), lambda: self._taught(point, deadline))
        if isinstance(made, Refused):
            self.ground.job.notes.append(f"a plan was not trained back: {made.reason}")
            return None
        return replace(point, model=made[0], verdict=made[1])

    def _taught(
        self, point: Point, deadline: Deadline
    ) -> tuple[onnx.ModelProto, Verdict] | Refused:
        from autogo_onnx.distillation.learning import learn

        try:
            model = learn(point.model, self.school, deadline)
        except InputError as error:
            return Refused(str(error))
        return model, self.judge.judge([model])

    def _key(self, point: Point) -> str:
        """All that the result depends on, beside the options."""
        return f"trained back {digest(point.model)}"
