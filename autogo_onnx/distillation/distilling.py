"""Plans that save too much to pass are trained back until they do.

How far a trained plan is beyond the gate grows with the error of its outputs before training. So
the error is sought at which training just makes up for it, as the gate is sought along the score of
untrained plans (`frontier.py`); and each time the plan is trained that should save most within it,
and trained on where it fails by little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, inf, log
from typing import TYPE_CHECKING

import onnx

from autogo_onnx.bracket import AIM, Bracket
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

MOST_TRAINED, MOST_REALIZED = 12, 36
"""Plans; those that turn out no faster than one that passes are not trained."""
TRAINING_GAIN = 4.0
"""Times the error at which the gate closes, for the first plan to train. On Fashion-MNIST, training
left between a sixth and a quarter of the expected loss."""
STRIDE = log(3.0)
"""How far the error may go from one plan to the next. There is time for three or so, and one far
beyond what training makes up for tells little."""
RISE = 0.5
"""Of what trained plans lose with the error before training, both logarithms, as far as nothing is
known. Measured on a CIFAR-10 ResNet-20 it was .3, and on Fashion-MNIST 1; too small a step costs as
much time as one too large, and most budgets have time for three."""
NOISE = 0.2
"""Plans whose errors are nearer to each other, logarithms, pass or fail by chance: on Fashion-MNIST
what such plans lose differs by a third once they are trained."""
SHARES = (0.35, 0.5, 0.85)
"""Of the time that is left, at the most, for a round of the first plan, the second and each one
after: where there is time for three, all take about as long, so that they tell of each other."""
ROUNDS = 3
"""Of training that a plan gets at most, one after the other, where it fails by little."""
NARROWLY = log(1.3)
"""So much over the limit; measured, a second round takes a tenth to two fifths of what is lost."""
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
    try:
        points = _Course(ground, material, plans.gate).search(plans)
    except InputError as error:
        ground.job.notes.append(f"nothing was trained back: {error}")
        return []
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
        from autogo_onnx.distillation.sights import sights
        from autogo_onnx.distillation.teacher import Teacher

        options = self.ground.options
        memory = int(TEACHER_MEMORY * options.memory_bytes)
        original, quantities = self.ground.job.original, self.ground.quantities
        seen = sights(
            original, self.material.learning, threads=options.threads, quantities=quantities
        )
        teacher = Teacher(
            original,
            seen,
            memory_bytes=memory,
            threads=options.threads,
            without=self.ground.sample_axes,
            quantities=quantities,
        )
        table, progress = self.ground.job.table, self.ground.progress
        return School(self.material, teacher, options.epochs, options.seed, table, progress)

    def search(self, plans: Plans) -> list[Point]:
        """The trained plans, one after the other while there is time."""
        error, trained = closing_error(plans), dict[tuple[int, ...], Point]()
        if error is None:
            return []
        bracket = Bracket(log(TRAINING_GAIN * error), STRIDE, RISE, NOISE)
        known = set[tuple[int, ...]]()
        with suppress(OutOfTime):
            for turn in range(MOST_REALIZED):
                goal = bracket.next()
                chosen = promising(plans, exp(goal), turn, known)
                point = None if chosen in known else self._realized(plans, chosen)
                is_slow = point is not None and not _is_faster(point, trained.values())
                if not chosen:
                    bracket.note(goal, -STRIDE, passes=True)  # Nothing is lost by so little.
                elif chosen in known or is_slow:
                    if bracket.broke is None:
                        bracket.note(goal, AIM, passes=True)  # Whoever saves more loses more.
                elif point is not None:
                    share = SHARES[min(len(trained), len(SHARES) - 1)]
                    for learnt in self._rounds(point, share):
                        trained[chosen] = learnt
                    if chosen in trained:
                        learnt = trained[chosen]
                        bracket.note(goal, self._beyond(learnt), passes=learnt.passes)
                known.add(chosen)
                if len(trained) == MOST_TRAINED:
                    break
        return list(trained.values())

    def _realized(self, plans: Plans, chosen: tuple[int, ...]) -> Point | None:
        """The plan of some choices before it is trained; None where there is none.

        Raises:
            OutOfTime: the budget has ended.
        """
        if not chosen:
            return None
        if not plans.has_time(chosen, self.ground.job.deadline):
            raise OutOfTime
        return plans.realized(chosen)

    def _rounds(self, point: Point, share: float) -> Iterator[Point]:
        """The plan trained back, and trained on while it fails by little and gets better.

        Args:
            point: the plan.
            share: of the time that is left, for each round.

        Raises:
            OutOfTime: the budget has ended.
        """
        deadline, beyond = self.ground.job.deadline, inf
        for rounds in range(ROUNDS):
            if not deadline.has(LEAST_S + self.judge.seconds):
                raise OutOfTime
            learnt = self._learnt(point, deadline.part(share), rounds)
            if learnt is None or self._beyond(learnt) >= beyond:
                return
            yield learnt
            point, beyond = learnt, self._beyond(learnt)
            if learnt.passes or beyond > NARROWLY:
                return

    def _beyond(self, point: Point) -> float:
        return excess(point.verdict, self.ground.options)

    def _learnt(self, point: Point, deadline: Deadline, rounds: int) -> Point | None:
        """The plan after one round more, or remembered from an interrupted run."""
        school = replace(self.school, rounds=rounds)
        made = remembered(
            self.ground, self._key(point, rounds), lambda: self._taught(point, school, deadline)
        )
        if isinstance(made, Refused):
            self.ground.job.notes.append(f"a plan was not trained back: {made.reason}")
            return None
        return replace(point, model=made[0], verdict=made[1])

    def _taught(
        self, point: Point, school: School, deadline: Deadline
    ) -> tuple[onnx.ModelProto, Verdict] | Refused:
        from autogo_onnx.distillation.learning import learn

        try:
            model = learn(point.model, school, deadline)
        except InputError as error:
            return Refused(str(error))
        return model, self.judge.judge([model])

    def _key(self, point: Point, rounds: int) -> str:
        """All that the result depends on and the run's own key does not tell."""
        told = (self.material.digest, self.ground.options.epochs, rounds)
        return f"trained back {digest(point.model)} {told}"


def _is_faster(point: Point, others: Iterable[Point]) -> bool:
    """Whether no plan that passes is as fast."""
    return not any(other.passes and other.ratio <= point.ratio for other in others)
