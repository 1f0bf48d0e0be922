"""Who is beaten, and in which order members are kept."""

from __future__ import annotations

import numpy as np
import pytest

from autogo_onnx.evolution import front


def _beaten_one_by_one(points: front.Points) -> list[bool]:
    return [
        any((other <= point).all() and (other < point).any() for other in points)
        for point in points
    ]


@pytest.mark.parametrize("figures", [1, 2, 3, 4])
def test_beaten_is_as_defined(figures: int) -> None:
    generator = np.random.default_rng(figures)
    for count in (0, 1, 2, 30):
        # Few values, so that there are ties and equal points.
        points = generator.integers(0, 5, (count, figures)).astype(float)
        assert front.is_beaten(points).tolist() == _beaten_one_by_one(points)


def test_many_points_are_compared_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    at_once = front.is_beaten(points)
    monkeypatch.setattr(front, "_COMPARED", 200)
    assert front.is_beaten(points).tolist() == at_once.tolist()


def test_ranked_peels_layers_and_keeps_extremes() -> None:
    points = np.array([[0.0, 9], [1, 5], [2, 4], [9, 0], [9, 9], [1, 6], [2, 5]])
    order = front.ranked(points, 7)
    assert set(order[:4]) == {0, 1, 2, 3}
    assert set(order[:2]) == {0, 3}  # extremes first
    assert set(order[4:6]) == {5, 6}
    assert order[6] == 4
    assert front.ranked(points, 3) == order[:3]


def test_crowding_ignores_a_figure_without_range() -> None:
    points = np.array([[0.0, 1], [1, 1], [2, 1], [4, 1]])
    assert front.crowding(points)[1:3].tolist() == [0.5, 0.75]
