"""Plans made real along the trade-off, each measured on both axes; the fastest that passes wins.

Summed scores and savings only propose. What a plan costs and saves is measured on the realized
model: fidelity on samples that nothing was fitted on, latency against the original.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from autogo_onnx import latency
from autogo_onnx.assemble import realize
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.gate import Gate, Verdict
from autogo_onnx.ground import Ground
from autogo_onnx.planning import Scored
from autogo_onnx.pricing import signature
from autogo_onnx.select import Item, largest_saving, select

BISECTIONS = 6
PROBES = 6
PROBE = 0.015
PLAN_SECONDS = 1.0


@dataclass(frozen=True)
class Point:
    """A realized plan.

    Attributes:
        model: the model.
        plan: what was replaced.
        ratio: latency over the original's, or the ratio of what the target counts.
        verdict: of the gate.
    """

    model: onnx.ModelProto
    plan: tuple[Scored, ...]
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


def explore(ground: Ground, scored: Sequence[Scored], gate: Gate) -> list[Point]:
    """Realize plans round the saving at which the gate closes.

    Bisection finds about where that is. The gate's figure is noisy, so a plan that failed does not
    end the search: plans that save a little more than the last good one are tried as well.

    Args:
        ground: the model.
        scored: items that may be chosen.
        gate: judges each realized plan.

    Returns:
        All realized plans, in the order of their making.
    """
    search = _Search(ground, scored, gate)
    ground.progress.stage("select", BISECTIONS + PROBES)
    good, bad = 0.0, largest_saving(search.items)
    for _ in range(BISECTIONS):
        target = (good + bad) / 2
        good, bad = (target, bad) if search.passes(target) else (good, target)
    for step in range(1, PROBES + 1):
        search.passes(good + step * PROBE)
    if search.is_cut_short:
        ground.job.notes.append("the search stopped early: the budget (--budget) was used up")
    return [point for point in search.tried.values() if point is not None]


class _Search:
    """Plans tried so far, by the items they consist of; None where one could not be fitted."""

    def __init__(self, ground: Ground, scored: Sequence[Scored], gate: Gate) -> None:
        self.ground, self.scored, self.gate = ground, scored, gate
        self.items = [Item(frozenset(s.candidate.site.cut.ops), s.saving, s.score) for s in scored]
        self.originals = [ground.activations(fit) for fit, _ in gate.folds]
        self.tried: dict[tuple[int, ...], Point | None] = {}
        self.is_cut_short = False
        self._longest = 0.0

    def passes(self, target: float) -> bool:
        """Whether the plan that saves at least `target` passes the gate; no plan at all does."""
        deadline = self.ground.job.deadline
        self.ground.progress.advance()
        if not deadline.has(self._longest):
            self.is_cut_short = True
            return False
        start = deadline.elapsed()
        chosen = select(self.items, target)
        if chosen and chosen not in self.tried:
            self.tried[chosen] = self._realize([self.scored[i] for i in chosen])
            self._longest = max(self._longest, deadline.elapsed() - start)
        point = self.tried[chosen] if chosen else None
        return not chosen or (point is not None and point.passes)

    def _realize(self, plan: list[Scored]) -> Point | None:
        ground = self.ground
        steps = [ground.step(s.candidate.site, s.candidate.graph) for s in plan]
        models = []
        for original in self.originals:
            made = realize(ground.model, ground.reading, steps, original, ground.settings)
            if isinstance(made, Refused):
                ground.job.notes.append(f"a plan was dropped: {made.reason}")
                return None
            models.append(made.model)
        verdict = self.gate.judge(models)
        ratio = measured_ratio(ground, models[0], plan_key(plan))
        return Point(models[0], tuple(plan), ratio, verdict)


def plan_key(plan: Sequence[Scored]) -> str:
    """Key of a plan's latency: which operators become which segments."""
    parts = sorted(
        [list(s.candidate.site.cut.ops), signature(s.candidate.site.graph, s.candidate.graph)]
        for s in plan
    )
    return f"plan/{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]}"


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
        )
        return paired.ratio_p10

    return ground.job.table.price(key, measure)


def best(points: Sequence[Point]) -> Point | None:
    """The fastest point that passes."""
    passing = [p for p in points if p.passes and np.isfinite(p.ratio)]
    return min(passing, key=lambda p: p.ratio, default=None)


def pareto(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats on both axes, fastest first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.ratio, p.loss)):
        if not kept or point.loss < kept[-1].loss:
            kept.append(point)
    return kept
