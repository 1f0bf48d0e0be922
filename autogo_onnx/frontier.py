"""The search along the trade-off for the fastest plan that the gate lets through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import OutOfTime
from autogo_onnx.plans import Plans, Point

BISECTIONS = 6
PROBES = 6
PROBE = 0.01
VARIATIONS = 8
STOPPED = "the search stopped early: the budget (--budget) was used up"
LEFT = "the search stopped early, to leave some of the budget (--budget) for training"


def explore(plans: Plans, deadline: Deadline) -> list[Point]:
    """Realize plans round the saving at which the gate closes.

    Bisection finds about where that is. The gate's figure is noisy, so a plan that failed does not
    end the search: plans that save a little more than the last good one are tried as well. Nor are
    summed scores right: so other choices are tried that save as much and a little more, and the
    search goes on from each that passes.

    Args:
        plans: what may be chosen.
        deadline: of the search; when it comes, what was found by then is returned.

    Returns:
        All realized plans, in the order of their making.
    """
    plans.ground.progress.stage("select", BISECTIONS + PROBES + VARIATIONS)
    search = _Search(plans, deadline)
    try:
        search.run()
    except OutOfTime:
        plans.ground.job.notes.append(STOPPED if plans.ground.options.distill is None else LEFT)
    return [point for point in plans.made.values() if point is not None]


class _Search:
    """How far it got: the largest saving at which a plan passed."""

    def __init__(self, plans: Plans, deadline: Deadline) -> None:
        self.plans, self.deadline = plans, deadline
        self.good = 0.0

    def run(self) -> None:
        bad = self.plans.largest
        for _ in range(BISECTIONS):
            target = (self.good + bad) / 2
            if not self.passes(target):
                bad = target
        start = self.good
        for step in range(1, PROBES + 1):
            self.passes(start + step * PROBE)
        for variation in range(1, VARIATIONS + 1):
            self.passes(self.good + PROBE / 2, variation)

    def passes(self, target: float, variation: int = 0) -> bool:
        """Whether a plan that saves so much passes the gate; no plan at all does.

        Raises:
            OutOfTime: the deadline has come.
        """
        self.plans.ground.progress.advance()
        chosen = self.plans.choose(target, variation)
        if not chosen:
            return True
        if not self.plans.has_time(chosen, self.deadline):
            raise OutOfTime
        point = self.plans.realized(chosen)
        passes = point is not None and point.passes
        if passes:
            self.good = max(self.good, target)
        return passes


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
