"""The order of fits: nothing twice, nothing left out, the promising first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx import planning
from autogo_onnx.fit_order import layers, visits

CANDIDATES = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0.01, 1.0), st.floats(-4.0, 0.3)), max_size=12
)


def columns(candidates: list[tuple[int, float, float]]) -> tuple[list[int], Any, Any]:
    sites = [site for site, _, _ in candidates]
    savings, errors = (np.array([c[i] for c in candidates], np.float64) for i in (1, 2))
    return sites, savings, errors


@given(CANDIDATES)
def test_every_candidate_is_fitted_once(candidates: list[tuple[int, float, float]]) -> None:
    sites, savings, errors = columns(candidates)
    found = visits(sites, savings, errors)
    assert sorted(n for visit in found for n in visit) == list(range(len(candidates)))
    assert all(len({sites[n] for n in visit}) == 1 for visit in found)
    assert found == visits(sites, savings, errors)


@given(CANDIDATES)
def test_layers_count_who_saves_as_much_for_less(
    candidates: list[tuple[int, float, float]],
) -> None:
    sites, savings, errors = columns(candidates)
    wanted = [
        sum(s == site and v >= saving and e < error for s, v, e in candidates)
        for site, saving, error in candidates
    ]
    assert layers(sites, savings, errors).tolist() == wanted


def test_all_sites_get_their_best_before_any_gets_its_worst() -> None:
    sites = [0] * 5 + [1] * 5
    savings = np.full(10, 0.1)
    errors = np.array([-3.0, -2.9, -2.8, -2.7, -2.6, -1.0, -0.9, -0.8, -0.7, -0.6])
    assert visits(sites, savings, errors, rounds=(1, 3)) == (
        *((0,), (5,)),
        *((1, 2), (6, 7)),
        *((3, 4), (8, 9)),
    )
    assert visits(sites, savings, errors, rounds=()) == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))


def test_most_saving_per_error_comes_first() -> None:
    sites, errors = [0, 1, 2], np.array([-1.0, -2.0, -2.0])
    assert visits(sites, np.array([0.3, 0.01, 0.1]), errors) == ((2,), (0,), (1,))


def candidate(site: str, error: float | None) -> Any:
    return SimpleNamespace(site=site, expected_error=error)


def test_without_expected_errors_sites_come_by_their_largest_saving() -> None:
    few, many = candidate("first", None), candidate("second", None)
    priced = [(few, 0.1), (few, 0.2), (many, 0.3), (many, 0.05)]
    assert planning._order(priced) == [priced[2:], priced[:2]]
    some_known = [(candidate("first", -3.0), 0.1), *priced[2:]]
    assert planning._order(some_known) == [priced[2:], some_known[:1]]


def test_expected_errors_decide_where_they_are_known() -> None:
    bad, good = candidate("first", -0.2), candidate("second", -2.0)
    assert planning._order([(bad, 0.2), (good, 0.1)]) == [[(good, 0.1)], [(bad, 0.2)]]
