"""Which points no other beats, and how lonely each is: NSGA-II's order (Deb et al., 2002).

A point is a row of figures, each the less the better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
_COMPARED = 1 << 22


def is_beaten(points: Points) -> NDArray[np.bool_]:
    """Whether another point is as good in every figure and better in one, bool[N].

    Args:
        points: float64[N,M].

    >>> is_beaten(np.array([[0.0, 2.0], [1.0, 1.0], [1.0, 2.0], [1.0, 1.0]])).tolist()
    [False, False, True, False]
    """
    if not len(points):
        return np.zeros(0, bool)
    # Ascending by the first figure, then the second: who beats a point stands before it.
    distinct, which = np.unique(points, axis=0, return_inverse=True)
    found = _second_beaten(distinct) if points.shape[1] == 2 else _any_beaten(distinct)
    beaten: NDArray[np.bool_] = found[which.ravel()]
    return beaten


def _second_beaten(points: Points) -> NDArray[np.bool_]:
    """Of two figures: whether the second was reached before."""
    least = np.minimum.accumulate(points[:, 1])
    return np.concatenate([[False], least[:-1] <= points[1:, 1]])


def _any_beaten(points: Points) -> NDArray[np.bool_]:
    """Each against all others, some at a time."""
    found = np.zeros(len(points), bool)
    rows = max(1, _COMPARED // points.size)
    for start in range(0, len(points), rows):
        some = points[start : start + rows, None, :]
        # Itself, and no other of distinct points, is as good in every figure and better in none.
        found[start : start + rows] = (points[None] <= some).all(axis=2).sum(axis=1) > 1
    return found


def crowding(points: Points) -> Points:
    """How far apart the neighbours of each point are, summed over the figures, float64[N].

    Figures count in shares of their range. The extremes are infinitely far.

    >>> crowding(np.array([[0.0, 4.0], [1.0, 1.0], [4.0, 0.0]])).tolist()
    [inf, 2.0, inf]
    """
    found = np.zeros(len(points))
    for figure in points.T:
        order = np.argsort(figure, kind="stable")
        ranked = figure[order]
        span = ranked[-1] - ranked[0] if len(ranked) else 0.0
        if span > 0:
            found[order[1:-1]] += (ranked[2:] - ranked[:-2]) / span
        if len(order):
            found[order[[0, -1]]] = np.inf
    return found


def ranked(points: Points, most: int) -> list[int]:
    """Numbers of the best points: unbeaten ones, then those that only these beat, and so on.

    Within a layer the loneliest come first, as they are when all of the layer is kept, then those
    of lower number.
    """
    left = np.arange(len(points))
    chosen: list[int] = []
    while len(left) and len(chosen) < most:
        beaten = is_beaten(points[left])
        layer = left[~beaten]
        order = np.lexsort((layer, -crowding(points[layer])))
        chosen += layer[order].tolist()
        left = left[beaten]
    return chosen[:most]
