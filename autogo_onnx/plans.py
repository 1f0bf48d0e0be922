"""Plans of changes made real on demand, each once, and measured on both axes.

Summed scores and savings only propose. What a plan costs and saves is measured on the realized
model: fidelity on samples that nothing was fitted on, latency against the original.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx

from autogo_onnx import latency
from autogo_onnx.assemble import realize
from autogo_onnx.deadline import Deadline
from autogo_onnx.ending import PATIENCE
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.gate import Gate, Verdict
from autogo_onnx.ground import Ground
from autogo_onnx.hindsight import SAVINGS, SCORES, Shown, corrected
from autogo_onnx.kept_plans import Judged, is_remembered, remembered
from autogo_onnx.opgraph import to_json
from autogo_onnx.planning import Scored
from autogo_onnx.pricing import signature
from autogo_onnx.select import Item, largest_saving, select, select_within
from autogo_onnx.step import Step
from autogo_onnx.widths.base import narrowed
from autogo_onnx.widths.narrowing import Narrowing
from autogo_onnx.widths.overlaps import overlaps

Choice = Scored | Narrowing
PLAN_SECONDS = 1.0
SOLVING_S, SOLVING_SHARE = 20.0, 0.02
"""Most seconds for one program of the selection, and most of the budget."""
_CHOICE = "choice"
_LEAST_SAVED, _LEAST_LOST = 0.001, 1e-9
"""Noise hides smaller savings, and rounding smaller errors."""


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
        return drop if drop is not None else verdict.fidelity.nmse


class Plans:
    """What may be changed, and the plans that were made of it by now.

    Attributes:
        ground: the model.
        gate: judges each realized plan.
        made: realized plans by the numbers of their choices; None where one could not be fitted.
    """

    def __init__(
        self, gate: Gate, scored: Sequence[Scored], narrowings: Sequence[Narrowing]
    ) -> None:
        """Nothing is realized yet.

        Args:
            gate: judges.
            scored: replacements that may be chosen.
            narrowings: that may be chosen.
        """
        self.ground, self.gate = gate.ground, gate
        self._choices: list[Choice] = [*scored, *narrowings]
        self._items = [_item(choice, narrowings) for choice in self._choices]
        self._overlaps = overlaps(self.ground.reading.opgraph, scored, narrowings)
        self._originals = [self.ground.activations(fit) for fit, _ in gate.folds]
        self.made: dict[tuple[int, ...], Point | None] = {}
        self._longest = gate.seconds + PLAN_SECONDS

    @cached_property
    def largest(self) -> float:
        """Most that any plan saves, by the sum of its prices."""

        def compute() -> float:
            return largest_saving(self._items, self._overlaps, max_seconds=self._solving_s)

        return float(self.ground.job.checkpoints.value("largest", self._problem, compute))

    @property
    def _solving_s(self) -> float:
        """Most seconds for one program of the selection."""
        return min(SOLVING_S, SOLVING_SHARE * self.ground.options.budget_s)

    @cached_property
    def _problem(self) -> str:
        """A digest of all that choices are made from."""
        items = zip(self._choices, self._items, strict=True)
        told = [[_key([choice]), item.saving, item.score] for choice, item in items]
        text = json.dumps([told, sorted(self._overlaps.items())])
        return hashlib.sha256(text.encode()).hexdigest()

    def saving(self, chosen: tuple[int, ...]) -> float:
        """What the plan of some choices should save, by the sum of prices."""
        alone = sum(self._items[i].saving for i in chosen)
        both = frozenset(chosen)
        twice = sum(less for pair, less in self._overlaps.items() if both.issuperset(pair))
        return alone - twice

    def score(self, chosen: tuple[int, ...]) -> float:
        """The summed score of some choices."""
        return sum(self._items[i].score for i in chosen)

    def choose(self, saving: float) -> tuple[int, ...]:
        """Numbers of the choices with the least summed score that save so much together.

        Args:
            saving: by the sum of prices.

        Raises:
            OutOfTime: the budget has ended, and no interrupted run has found them.
        """
        return self._chosen(
            [saving],
            lambda: select(
                self._items,
                saving,
                self._overlaps,
                largest=self.largest,
                max_seconds=self._solving_s,
            ),
        )

    def within(self, score: float) -> tuple[int, ...]:
        """Numbers of the choices that save most and whose summed score is at most `score`.

        Raises:
            OutOfTime: as `choose`.
        """
        return self._chosen(
            ["within", score],
            lambda: select_within(self._items, score, self._overlaps, max_seconds=self._solving_s),
        )

    def hopeful(self, loss: float, seed: int | None) -> tuple[int, ...]:
        """Numbers of the choices that may save most, as far as the plans made by now tell.

        Args:
            loss: most that they may lose, as an error of the outputs (`Fidelity.nmse`).
            seed: of what is drawn where these plans do not tell much; None: what is expected.

        Raises:
            OutOfTime: as `choose`.
        """
        seen = [
            (chosen, 1.0 - point.ratio, point.verdict.fidelity.nmse)
            for chosen, point in self.made.items()
            if point is not None and np.isfinite(point.ratio)
        ]
        rng = None if seed is None else np.random.default_rng(seed)
        return self._chosen(
            ["hopeful", loss, seed, hashlib.sha256(repr(seen).encode()).hexdigest()],
            lambda: select_within(
                self._in_hindsight(seen, rng),
                loss,
                self._overlaps,
                max_seconds=self._solving_s,
            ),
        )

    def _in_hindsight(
        self, seen: Sequence[tuple[tuple[int, ...], float, float]], rng: np.random.Generator | None
    ) -> list[Item]:
        """The items, with savings and scores as they are known after some plans."""
        savings = [
            Shown(c, max(self.saving(c), _LEAST_SAVED), max(saved, _LEAST_SAVED))
            for c, saved, _ in seen
        ]
        scores = [
            Shown(c, max(self.score(c), _LEAST_LOST), max(lost, _LEAST_LOST)) for c, _, lost in seen
        ]
        new_savings = corrected(np.array([i.saving for i in self._items]), savings, SAVINGS, rng)
        new_scores = corrected(np.array([i.score for i in self._items]), scores, SCORES, rng)
        return [
            replace(item, saving=float(saving), score=float(score))
            for item, saving, score in zip(self._items, new_savings, new_scores, strict=True)
        ]

    def _chosen(
        self, wanted: list[str | float | None], solve: Callable[[], tuple[int, ...]]
    ) -> tuple[int, ...]:
        """The solution of a program, which an interrupted run may have found."""
        key = json.dumps([*wanted, self._problem])
        checkpoints = self.ground.job.checkpoints
        if not checkpoints.knows(_CHOICE, key):
            self.ground.job.deadline.check()
        return tuple(checkpoints.value(_CHOICE, key, solve))

    def has_time(self, chosen: tuple[int, ...], deadline: Deadline) -> bool:
        """Whether a plan is there already, or there is time to make it."""
        plan = [self._choices[i] for i in chosen]
        known = chosen in self.made or is_remembered(self.ground, _key(plan))
        return known or deadline.has(self._longest)

    def realized(self, chosen: tuple[int, ...]) -> Point | None:
        """The plan of some choices; None where one of them cannot be fitted.

        Raises:
            OutOfTime: the budget ended in the midst of it.
        """
        if chosen not in self.made:
            start = self.ground.job.deadline.elapsed()
            self.made[chosen] = self._realize([self._choices[i] for i in chosen])
            self._longest = max(self._longest, self.ground.job.deadline.elapsed() - start)
        return self.made[chosen]

    def at(self, saving: float) -> Point | None:
        """The plan that should save so much; see `choose` and `realized`."""
        return self.realized(self.choose(saving))

    def _realize(self, plan: list[Choice]) -> Point | None:
        made = remembered(self.ground, _key(plan), lambda: self._judged(plan))
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
        for original in self._originals:
            made = realize(
                base.model,
                base.reading,
                steps,
                base.targets(original),
                ground.settings,
                base.changed,
            )
            if isinstance(made, Refused):
                return made
            models.append(made.model)
        return models[0], self.gate.judge(models)


def _item(choice: Choice, narrowings: Sequence[Narrowing]) -> Item:
    """Replacements take their operators; narrowings their space, as do replacements round it."""
    if isinstance(choice, Narrowing):
        return Item(frozenset({choice.space}), choice.saving, choice.score)
    ops = frozenset(choice.candidate.site.cut.ops)
    inner = {n.space for n in narrowings if ops.issuperset(n.space.makers)}
    return Item(
        ops | {s for s in inner if any(r.op in ops for r in s.readers)}, choice.saving, choice.score
    )


def plan_key(plan: Sequence[Choice]) -> str:
    """Key of a plan's latency: which operators become which segments, which spaces how wide."""
    text = _told(
        plan,
        lambda narrowing: f"width {len(narrowing.kept)}",
        lambda scored: signature(scored.candidate.site.graph, scored.candidate.graph),
    )
    return f"plan/{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _key(plan: Sequence[Choice]) -> str:
    """All that a plan is."""
    return _told(
        plan,
        lambda narrowing: f"kept {narrowing.kept.tolist()}",
        lambda scored: to_json(scored.candidate.graph),
    )


def _told(
    plan: Sequence[Choice],
    narrower: Callable[[Narrowing], str],
    replaced: Callable[[Scored], str],
) -> str:
    """Where every choice of a plan is, and what it is, in an order of its own."""
    parts = sorted(
        [list(choice.space.makers), narrower(choice)]
        if isinstance(choice, Narrowing)
        else [list(choice.candidate.site.cut.ops), replaced(choice)]
        for choice in plan
    )
    return json.dumps(parts)


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
