"""The search along the trade-off for the fastest plan that the gate lets through."""

from __future__ import annotations

from collections.abc import Container, Sequence
from math import exp, log

import numpy as np

from autogo_onnx.allowance import allowance
from autogo_onnx.bracket import AIM, STRIDE, Bracket
from autogo_onnx.deadline import Deadline
from autogo_onnx.errors import OutOfTime
from autogo_onnx.excess import excess
from autogo_onnx.plans import Plans, Point

CLOSINGS = 6
CLOSE_ENOUGH = 0.01
"""Savings of two plans on both sides of the gate."""
REFINEMENTS, REFINEMENTS_BEFORE_TRAINING = 14, 8
"""Of the plan near the gate; or of one so far beyond that training should bring it back."""
BEYOND = (3.0, 9.0)
"""Times the score at which the gate closes: what more would cost, for the Pareto set."""
_NOTHING = 1e-12
_NEAR, _MOST_BEYOND, _PASSES = 0.3, 1.0, 3
STOPPED = "the search stopped early: the budget (--budget) was used up"
LEFT = "the search stopped early, to leave some of the budget (--budget) for training"


def explore(
    plans: Plans, deadline: Deadline, refinements: int = REFINEMENTS, beyond: float = 1.0
) -> list[Point]:
    """Realize plans round the score at which the gate closes.

    What the first plans lose tells what summed score to go to. But sums of scores and of prices are
    not right, and the gate's figure is noisy: so further plans are chosen by what the realized ones
    tell of their parts, each to lose a little less than is allowed, or a multiple of that. Two far
    beyond come last.

    Args:
        plans: what may be chosen.
        deadline: of the search; when it comes, what was found by then is returned.
        refinements: further plans; with more, it goes on where it was.
        beyond: times the error at which the gate closes that they are to have.

    Returns:
        All realized plans, in the order of their making.
    """
    plans.ground.progress.stage("select", CLOSINGS + refinements + len(BEYOND))
    search = _Search(plans, deadline)
    try:
        search.run(refinements, beyond)
    except OutOfTime:
        plans.ground.job.notes.append(STOPPED if plans.ground.options.distill is None else LEFT)
    return [point for point in plans.made.values() if point is not None]


class _Search:
    """How far it got: the largest saving at which a plan passed."""

    def __init__(self, plans: Plans, deadline: Deadline) -> None:
        self.plans, self.deadline = plans, deadline
        self.good = 0.0

    def run(self, refinements: int, beyond: float) -> None:
        closes = self.close()
        for turn in range(refinements):
            error = closing_error(self.plans)
            if error is not None:
                self.tried(promising(self.plans, beyond * error, turn, self.plans.made))
        for factor in BEYOND:
            self.tried(self.plans.choices.within(factor * exp(closes)))

    def close(self) -> float:
        """Find about where the gate closes; the logarithm of the summed score there."""
        gate = self.plans.gate
        bracket = Bracket(log(allowance(gate.reference[0], self.plans.ground.options)))
        failed = self.plans.choices.largest
        for _ in range(CLOSINGS):
            goal = bracket.next()
            chosen = self.plans.choices.within(exp(goal))
            point = self.tried(chosen)
            if not chosen:
                bracket.note(goal, -STRIDE, passes=True)
                continue
            beyond = STRIDE if point is None else excess(point.verdict, self.plans.ground.options)
            passes = point is not None and point.passes
            bracket.note(
                log(max(self.plans.choices.score(chosen), _NOTHING)), beyond, passes=passes
            )
            if not passes:
                failed = self.plans.choices.saving(chosen)
            if failed - self.good < CLOSE_ENOUGH:
                break
        return bracket.next()

    def tried(self, chosen: tuple[int, ...]) -> Point | None:
        """The plan of some choices; None where there is none, or it cannot be fitted.

        Raises:
            OutOfTime: the deadline has come.
        """
        self.plans.ground.progress.advance()
        if not chosen:
            return None
        if not self.plans.has_time(chosen, self.deadline):
            raise OutOfTime
        point = self.plans.realized(chosen)
        if point is not None and point.passes:
            self.good = max(self.good, self.plans.choices.saving(chosen))
        return point


def closing_error(plans: Plans) -> float | None:
    """The error of the outputs (`Fidelity.error`) at about which the gate closes.

    Told by the plans that were made; None before any.
    """
    points = [point for point in plans.made.values() if point is not None]
    if not points:
        return None
    beyond = np.array([excess(point.verdict, plans.ground.options) for point in points])
    errors = np.log([max(p.verdict.fidelity.error, _NOTHING) for p in points])
    told = errors - beyond.clip(-_MOST_BEYOND, _MOST_BEYOND)
    closes = float(told.mean())
    for _ in range(_PASSES):
        # Plans near by tell most: by their errors, for what is beyond is noise as well.
        closes = float(np.average(told, weights=1 / (_NEAR**2 + (errors - closes) ** 2)))
    return exp(closes + AIM)


def promising(
    plans: Plans, error: float, turn: int, known: Container[tuple[int, ...]]
) -> tuple[int, ...]:
    """Choices that should save most within an error of the outputs, or might where these are known.

    Args:
        plans: what realized ones taught decides.
        error: the most.
        turn: another one draws others.
        known: choices that would tell nothing new.

    Raises:
        OutOfTime: the deadline has come.
    """
    seen = plans.seen()
    expected = plans.choices.hopeful(seen, error, None)
    return plans.choices.hopeful(seen, error, turn) if expected in known else expected


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
