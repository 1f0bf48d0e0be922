"""Plans of changes made real on demand, each once, and measured on both axes.

Summed scores and savings only propose. What a plan costs and saves is measured on the realized
model: fidelity on samples that nothing was fitted on, latency against the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx

from autogo_onnx import latency
from autogo_onnx.activations import Activations
from autogo_onnx.assemble import Realized, realize
from autogo_onnx.choices import Choice, Choices, Seen, full_key, plan_key
from autogo_onnx.deadline import Deadline
from autogo_onnx.ending import PATIENCE
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.gate import Gate, Verdict
from autogo_onnx.ground import Ground
from autogo_onnx.kept_plans import Judged, is_remembered, remembered
from autogo_onnx.parallel import side_by_side
from autogo_onnx.planning import Scored
from autogo_onnx.step import Step
from autogo_onnx.widths.base import Base, narrowed
from autogo_onnx.widths.narrowing import Narrowing

PLAN_SECONDS = 1.0


@dataclass(frozen=True)
class Point:
    """A realized plan.

    Attributes:
        model: the model.
        plan: what was replaced, and what got narrower.
        ratio: latency over the original's, or the ratio of what the target counts.
        verdict: of the gate.
    """

    model: onnx.ModelProto
    plan: tuple[Choice, ...]
    ratio: float
    verdict: Verdict

    @property
    def passes(self) -> bool:
        """Whether the gate lets it through."""
        return self.verdict.passes

    @property
    def loss(self) -> float:
        """What the trade-off is drawn over: lost metric, else lost accuracy, else error."""
        verdict = self.verdict
        if verdict.metric is not None:
            return -verdict.metric
        drop = verdict.fidelity.drop
        return drop if drop is not None else verdict.fidelity.error


class Plans:
    """The plans that were made by now of what may be changed.

    Attributes:
        ground: the model.
        gate: judges each realized plan.
        choices: what may be changed.
        made: realized plans by the numbers of their choices; None where one could not be fitted.
    """

    def __init__(self, gate: Gate, choices: Choices) -> None:
        """Nothing is realized yet.

        Args:
            gate: judges.
            choices: what may be changed.
        """
        self.ground, self.gate, self.choices = gate.ground, gate, choices
        self._originals = [self.ground.activations(fit) for fit, _ in gate.folds]
        self.made: dict[tuple[int, ...], Point | None] = {}
        self._usual_s = gate.seconds + PLAN_SECONDS

    def seen(self) -> list[Seen]:
        """What the plans saved and lost that were made by now."""
        return [
            Seen(chosen, 1.0 - point.ratio, point.verdict.fidelity.error)
            for chosen, point in self.made.items()
            if point is not None and np.isfinite(point.ratio)
        ]

    def has_time(self, chosen: tuple[int, ...], deadline: Deadline) -> bool:
        """Whether a plan is there already, or there is time to make it."""
        plan = [self.choices.every[i] for i in chosen]
        known = chosen in self.made or is_remembered(self.ground, full_key(plan))
        return known or deadline.has(self._usual_s)

    def realized(self, chosen: tuple[int, ...]) -> Point | None:
        """The plan of some choices; None where one of them cannot be fitted.

        Raises:
            OutOfTime: the budget ended in the midst of it.
        """
        if chosen not in self.made:
            start = self.ground.job.deadline.elapsed()
            self.made[chosen] = self._realize([self.choices.every[i] for i in chosen])
            self._usual_s = self.ground.job.deadline.elapsed() - start
        return self.made[chosen]

    def _realize(self, plan: list[Choice]) -> Point | None:
        made = remembered(self.ground, full_key(plan), lambda: self._judged(plan))
        if isinstance(made, Refused):
            self.ground.job.notes.append(f"a plan was dropped: {made.reason}")
            return None
        model, verdict = made
        ratio = measured_ratio(self.ground, model, plan_key(plan))
        return Point(model, tuple(plan), ratio, verdict)

    def _judged(self, plan: list[Choice]) -> Judged | Refused:
        ground = self.ground
        base = narrowed(ground, [c for c in plan if isinstance(c, Narrowing)])
        steps: list[Step] = []
        for choice in plan:
            if isinstance(choice, Scored):
                step = base.step(choice.candidate.site, choice.candidate.graph)
                if isinstance(step, Refused):
                    return step
                steps.append(step)
        models = []
        for made in self._fitted(base, steps):
            if isinstance(made, Refused):
                return made
            models.append(made.model)
        verdict = self.gate.judge(models)
        if not verdict.keeps_sizes:
            return Refused("with inputs of another size its outputs have other shapes")
        return models[0], verdict

    def _fitted(self, base: Base, steps: Sequence[Step]) -> list[Realized | Refused]:
        """The plan fitted on what each fold of the gate has for it."""
        settings, job = self.ground.settings, self.ground.job

        def fit(original: Activations) -> Realized | Refused:
            targets = base.targets(original)
            return realize(base.model, base.reading, steps, targets, settings, base.changed)

        tasks = [partial(fit, original) for original in self._originals]
        return side_by_side(tasks, threads=self.ground.options.threads, clock=job.deadline.clock)


def measured_ratio(ground: Ground, model: onnx.ModelProto, key: str) -> float:
    """Latency of a model over the original's, from the table if it is there; or the counted one."""
    options = ground.options
    if ground.job.counted is not None:
        return ground.job.counted_ratio(model)

    def measure() -> float:
        paired = latency.compare(
            ground.job.original,
            model,
            ground.feed,
            seconds=PLAN_SECONDS,
            seed=options.seed,
            threads=options.threads,
            limit_s=PATIENCE * PLAN_SECONDS,
        )
        return paired.ratio_p10

    return ground.job.table.price(key, measure)
