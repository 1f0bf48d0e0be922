"""Prices and scores of parts, learnt from plans that were made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx.hindsight import SAVINGS, SCORES, Doubt, Shown, corrected

Array = np.ndarray[Any, Any]


def plans_of(figures: Array, truth: Array, count: int, rng: np.random.Generator) -> list[Shown]:
    """Plans of four parts; what they came to is the sum of the truth."""
    made = []
    for _ in range(count):
        parts = tuple(int(i) for i in rng.choice(len(figures), 4, replace=False))
        made.append(Shown(parts, float(figures[[*parts]].sum()), float(truth[[*parts]].sum())))
    return made


@given(st.integers(0, 10**6), st.sampled_from([SAVINGS, SCORES]))
def test_many_plans_tell_the_parts_figures(seed: int, doubt: Doubt) -> None:
    rng = np.random.default_rng(seed)
    figures = rng.uniform(0.5, 2.0, 8)
    truth = figures * np.exp(rng.normal(0, doubt.own / 2, 8)) * 0.7
    plans = plans_of(figures, truth, 60, rng)
    learnt = corrected(figures, plans, doubt, None)
    assert np.abs(np.log(learnt / truth)).mean() < np.abs(np.log(0.7 * figures / truth)).mean()
    assert learnt.sum() == pytest.approx(truth.sum(), rel=0.1)


def test_a_part_that_no_plan_has_gets_the_common_factor_alone() -> None:
    figures = np.array([1.0, 1.0, 1.0])
    learnt = corrected(figures, [Shown((0, 1), 2.0, 1.0)], SAVINGS, None)
    assert learnt[0] == learnt[1] < learnt[2] < 1.0


def test_what_is_unknown_is_drawn_widely_and_what_is_known_is_not() -> None:
    figures = np.ones(2)
    plans = [Shown((0,), 1.0, 1.0)] * 50
    draws = [corrected(figures, plans, SCORES, np.random.default_rng(k)) for k in range(400)]
    spread = np.log(draws).std(axis=0)
    assert spread[1] == pytest.approx(SCORES.own, rel=0.15)
    assert spread[0] < SCORES.own


def test_unusable_parts_stay_unusable() -> None:
    learnt = corrected(np.array([1.0, np.inf, 2.0]), [Shown((0, 2), 3.0, 2.0)], SCORES, None)
    assert np.isinf(learnt[1])
    assert np.isfinite(learnt[[0, 2]]).all()
