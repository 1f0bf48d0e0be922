"""The search for the gate along made-up trade-offs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from autogo_onnx.allowance import allowance
from autogo_onnx.choices import Seen
from autogo_onnx.deadline import Deadline
from autogo_onnx.fidelity import UNSEEN, Fidelity, error_unit
from autogo_onnx.frontier import STOPPED, best, explore
from autogo_onnx.gate import Verdict
from autogo_onnx.options import Options
from autogo_onnx.plans import Point
from autogo_onnx.progress import Silent

LIMIT = Options().max_drop / UNSEEN
SCORES = np.random.default_rng(0).normal(size=(512, 10)) * 4


class MadeUp:
    """Plans that save 0.1 %, 0.2 %, ... for a steeply rising score, and what they lose.

    Args:
        closes: the saving at which the loss reaches the limit.
        misled: how many times the score is there what it is expected to be.
        affordable: how many plans there is time for.
    """

    largest = 0.6

    def __init__(self, closes: float, misled: float = 1.0, affordable: int = 1000) -> None:
        self.closes, self.misled, self.affordable = closes, misled, affordable
        self.notes: list[str] = []
        job = SimpleNamespace(notes=self.notes)
        self.ground: Any = SimpleNamespace(progress=Silent(), job=job, options=Options())
        self.gate: Any = SimpleNamespace(reference=[[SCORES]])
        self.made: dict[tuple[int, ...], Point | None] = {}

    @property
    def choices(self) -> MadeUp:
        return self

    def seen(self) -> list[Seen]:
        return []

    def saving(self, chosen: tuple[int, ...]) -> float:
        return chosen[0] / 1000 if chosen else 0.0

    def score(self, chosen: tuple[int, ...]) -> float:
        return LIMIT * self.misled * (self.saving(chosen) / self.closes) ** 6

    def hopeful(self, seen: list[Seen], loss: float, seed: int | None) -> tuple[int, ...]:
        """Knows all, but what is drawn strays."""
        strays = 0.0 if seed is None else np.random.default_rng(seed).normal(0, 0.05)
        saving = self.closes * (loss / LIMIT) ** (1 / 4) * np.exp(strays)
        return (int(1000 * min(saving, self.largest)),)

    def within(self, score: float) -> tuple[int, ...]:
        there = self.closes * (score / LIMIT / self.misled) ** (1 / 6)
        saving = min(there, self.largest)
        return (int(1000 * saving),) if saving >= 0.001 else ()

    def has_time(self, chosen: tuple[int, ...], deadline: Deadline) -> bool:
        return chosen in self.made or len(self.made) < self.affordable

    def realized(self, chosen: tuple[int, ...]) -> Point | None:
        saving = self.saving(chosen)
        bound = LIMIT * (saving / self.closes) ** 4
        fidelity = Fidelity("expected_drop", 512, bound, bound, 1.0, bound, None, None)
        passes = fidelity.passes(max_drop=Options().max_drop, min_psnr=40.0)
        verdict = Verdict(fidelity, None, passes)
        return self.made.setdefault(chosen, Point(onnx.ModelProto(), (), 1 - saving, verdict))


def found(made_up: MadeUp, seconds: float = 1e9) -> float:
    """What the fastest plan that passes saves; 0 where there is none."""
    plans: Any = made_up
    point = best(explore(plans, Deadline(seconds)))
    return 0.0 if point is None else 1 - point.ratio


@pytest.mark.parametrize("misled", [0.1, 0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("closes", [0.05, 0.2, 0.35, 0.55])
def test_the_gate_is_found_wherever_it_closes(closes: float, misled: float) -> None:
    plans = MadeUp(closes, misled)
    assert closes - 0.011 <= found(plans) <= closes + 1e-9
    assert not plans.notes


@pytest.mark.parametrize("misled", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("closes", [0.2, 0.35, 0.55])
def test_three_plans_come_near_it(closes: float, misled: float) -> None:
    plans = MadeUp(closes, misled, affordable=3)
    assert found(plans) >= 0.93 * closes
    assert plans.notes == [STOPPED]


def test_a_gate_that_never_closes_ends_the_closing_at_the_largest_saving() -> None:
    plans = MadeUp(2.0)
    assert found(plans) == pytest.approx(plans.largest)
    assert len(plans.made) <= 4


def test_the_search_goes_on_where_it_was() -> None:
    plans: Any = MadeUp(0.35)
    few = explore(plans, Deadline(1e9), refinements=1)
    more = explore(plans, Deadline(1e9))
    assert few == more[: len(few)]
    assert len(few) + 5 <= len(more)


def test_plans_far_beyond_are_there_for_the_trade_off() -> None:
    plans: Any = MadeUp(0.2)
    explore(plans, Deadline(1e9))
    savings = sorted(plans.saving(chosen) for chosen in plans.made)
    assert savings[-1] >= 0.2 * 9 ** (1 / 6) - 0.02


def test_the_allowance_of_pictures_is_the_error_of_the_allowed_decibels() -> None:
    picture = np.random.default_rng(1).uniform(-1, 3, (8, 3, 16, 16)).astype(np.float32)
    share = allowance([picture], Options(min_psnr=30.0))
    noise = np.random.default_rng(2).normal(size=picture.shape)
    noisy = picture + noise * np.sqrt(share * error_unit(picture))
    error = np.mean((noisy - picture) ** 2)
    assert 10 * np.log10(np.ptp(picture) ** 2 / error) == pytest.approx(30.0, abs=0.1)


def test_the_allowance_of_classes_is_what_may_be_lost() -> None:
    assert allowance([SCORES], Options(max_drop=0.03)) == pytest.approx(0.02)
    assert allowance([SCORES], Options(max_drop=0.0)) > 0
    assert allowance([np.zeros((4, 3, 2, 2), np.float32)], Options()) > 0


def test_refinements_have_a_multiple_of_the_error_where_they_are_to_be_trained() -> None:
    plans: Any = MadeUp(0.2)
    explore(plans, Deadline(1e9), refinements=8, beyond=4.0)
    losses = [point.verdict.fidelity.error / LIMIT for point in plans.made.values()]
    assert sum(3.0 < loss < 5.0 for loss in losses) >= 6
    assert sum(0.5 < loss <= 1.0 for loss in losses) >= 1
