"""How fast a limit is found along noisy power laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx.bracket import AIM, STRIDE, Bracket

POWERS = st.floats(0.4, 1.6)
LIMITS = st.floats(-8.0, 2.0)


@given(POWERS, LIMITS, st.floats(-3.0, 3.0))
def test_six_trials_find_where_a_power_law_reaches_the_limit(
    power: float, limit: float, off: float
) -> None:
    bracket = Bracket(limit + off)
    for _ in range(6):
        score = bracket.next()
        excess = power * (score - limit)
        bracket.note(score, excess, passes=excess <= 0)
    assert abs(bracket.next() - limit) < 0.5


@given(POWERS, LIMITS, st.floats(-3.0, 3.0), st.lists(st.floats(-0.7, 0.7), min_size=8))
def test_noise_never_drives_it_out_of_what_is_known(
    power: float, limit: float, off: float, noise: list[float]
) -> None:
    bracket = Bracket(limit + off)
    for error in noise[:8]:
        score = bracket.next()
        excess = power * (score - limit) + error
        bracket.note(score, excess, passes=excess <= 0)
        kept, broke = bracket.kept, bracket.broke
        if kept is not None and broke is not None:
            assert kept[0] < bracket.next() < broke[0]
        elif kept is not None:
            assert bracket.next() > kept[0]


def test_where_noise_decides_the_mean_does_and_not_the_luckiest() -> None:
    rng = np.random.default_rng(0)
    tried: dict[float, list[float]] = {0.0: [], 0.2: []}
    for noise, found in tried.items():
        for _ in range(200):
            bracket = Bracket(rng.normal(0, 0.7), rise=0.5, noise=noise)
            for _ in range(12):
                score = bracket.next()
                excess = score + rng.normal(0, 0.3)
                bracket.note(score, excess, passes=excess <= 0)
                found.append(score)
            found.append(bracket.next())
    last = {noise: np.array(found[12::13]) for noise, found in tried.items()}
    assert abs(last[0.2].mean() - AIM) < 0.05
    assert last[0.2].std() < 0.75 * last[0.0].std()


def test_one_side_alone_is_left_in_strides() -> None:
    bracket = Bracket(0.0)
    bracket.note(0.0, -50.0, passes=True)
    assert bracket.next() == pytest.approx(STRIDE)
    other = Bracket(0.0)
    other.note(0.0, math.inf, passes=False)
    assert other.next() == pytest.approx(-STRIDE)


def test_a_plan_that_fails_within_the_limit_halves_the_bracket() -> None:
    """As one that breaks other sizes of pictures does."""
    bracket = Bracket(0.0)
    bracket.note(-2.0, -1.0, passes=True)
    bracket.note(0.0, -1.5, passes=False)
    assert bracket.next() == pytest.approx(-1.0)
