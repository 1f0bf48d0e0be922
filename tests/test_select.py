from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autogo_onnx.select import Item, largest_saving, select_within


def item(ops: set[int], saving: float, score: float) -> Item:
    return Item(frozenset(ops), saving, score)


def plans(items: list[Item]) -> Iterator[tuple[int, ...]]:
    """Every set of items that do not overlap."""
    for size in range(len(items) + 1):
        for chosen in combinations(range(len(items)), size):
            covered = [op for i in chosen for op in items[i].ops]
            if len(covered) == len(set(covered)):
                yield chosen


@st.composite
def instances(draw: st.DrawFn) -> list[Item]:
    """Up to eight items over six operators; savings may be negative, scores spread widely."""
    ops = st.sets(st.integers(0, 5), min_size=1, max_size=3)
    savings = st.integers(-20, 200).map(lambda k: k / 1000)
    scores = st.tuples(st.integers(1, 99), st.integers(-5, 2)).map(lambda t: t[0] * 10.0 ** t[1])
    return draw(st.lists(st.builds(item, ops, savings, scores), min_size=1, max_size=8))


@settings(max_examples=100, deadline=None)
@given(instances(), st.integers(1, 99), st.integers(-5, 2))
def test_the_most_saved_within_a_score(items: list[Item], mantissa: int, exponent: int) -> None:
    limit = mantissa * 10.0**exponent
    every = [p for p in plans(items) if sum(items[i].score for i in p) <= limit * (1 + 1e-6)]
    savings = {plan: sum(items[i].saving for i in plan) for plan in every}
    assert largest_saving(items) == pytest.approx(
        max(sum(items[i].saving for i in plan) for plan in plans(items)), abs=1e-9
    )
    chosen = select_within(items, limit)
    assert chosen in every
    assert savings[chosen] >= max(savings.values()) - 2e-5 * 0.2


@settings(max_examples=40, deadline=None)
@given(instances(), st.integers(1, 99), st.integers(0, 10**6))
def test_what_two_items_save_twice_counts_once(items: list[Item], limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    less = {
        (i, j): float(rng.integers(0, 60)) / 1000
        for i, j in combinations(range(len(items)), 2)
        if rng.random() < 0.5
    }

    def saving(plan: tuple[int, ...]) -> float:
        alone = sum(items[i].saving for i in plan)
        return alone - sum(less.get(pair, 0.0) for pair in combinations(plan, 2))

    # An item that saves nothing by itself is never chosen.
    every = [plan for plan in plans(items) if all(items[i].saving > 0 for i in plan)]
    most = max(map(saving, every))
    assert largest_saving(items, less) == pytest.approx(most, abs=1e-6)
    within = select_within(items, 1e9, less)
    assert saving(within) == pytest.approx(most, abs=1e-5)
    affordable = [p for p in every if sum(items[i].score for i in p) <= limit * (1 + 1e-6)]
    chosen = select_within(items, limit, less)
    assert chosen in affordable
    assert saving(chosen) >= max(map(saving, affordable)) - 1e-5


def test_overlapping_items_are_never_chosen_together() -> None:
    items = [item({0, 1}, 0.2, 1.0), item({1, 2}, 0.2, 1.0), item({2, 3}, 0.2, 1.0)]
    assert select_within(items, 9.0) == (0, 2)
    assert largest_saving(items) == pytest.approx(0.4)


def test_equal_savings_are_decided_by_order() -> None:
    items = [item({k}, 0.1, 1.0) for k in range(5)]
    assert select_within(items, 2.0) == (0, 1)


def test_free_items_need_no_unit() -> None:
    assert select_within([item({0}, 0.1, 0.0), item({0}, 0.1, 0.0)], 0.0) == (0,)
    assert select_within([item({0}, 0.1, 0.0)], 5.0) == (0,)
    some = [item({0}, 0.1, 0.0), item({1}, 0.1, 0.0), item({2}, 0.3, 7.0)]
    assert select_within(some, 0.0) == (0, 1)


def test_what_breaks_the_model_is_never_chosen() -> None:
    items = [item({0}, 0.9, math.inf), item({1}, 0.1, 1.0), item({2}, 0.9, math.nan)]
    assert largest_saving(items) == pytest.approx(0.1)
    assert largest_saving(items[:1]) == 0.0
    assert select_within(items, 2.0) == (1,)


def test_nothing_to_choose_from_or_for() -> None:
    assert largest_saving([]) == 0.0
    assert select_within([], 1.0) == ()
    assert select_within([item({0}, 0.1, 5.0)], 1.0) == ()
    assert select_within([item({0}, -0.5, 1.0)], 9.0) == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(instances(), st.integers(1, 600))
def test_nothing_is_printed(
    capfd: pytest.CaptureFixture[str], items: list[Item], thousandths: int
) -> None:
    """Standard output carries the result table."""
    select_within(items, thousandths / 100)
    assert capfd.readouterr() == ("", "")


def test_the_same_choice_every_time() -> None:
    items = [item({k % 7, (k * 3) % 7}, 0.01 * (k % 5 + 1), 0.1 * (k % 4 + 1)) for k in range(40)]
    chosen = select_within(items, 0.7)
    assert len(chosen) > 1
    assert all(select_within(items, 0.7) == chosen for _ in range(3))
