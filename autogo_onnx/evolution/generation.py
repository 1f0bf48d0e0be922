"""From one iteration to the next: which networks are new, and which are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autogo_onnx.evolution import front
from autogo_onnx.evolution.member import Judged, Member
from autogo_onnx.evolution.settings import Objective
from autogo_onnx.evolution.task import Brood

KEPT = 400
"""Members that are kept. A front of more loses those with the nearest neighbours."""


def distinct(broods: Sequence[Brood]) -> tuple[list[Judged], int]:
    """Children of all parents, each network once, by its first parent; and how many were more."""
    found: dict[str, Judged] = {}
    total = 0
    for one in broods:
        for child in one.children:
            total += 1
            found.setdefault(child.key, child)
    return list(found.values()), total - len(found)


def kept(
    members: Sequence[Member],
    children: Sequence[Judged],
    parents: Sequence[Member],
    iteration: int,
    objectives: Sequence[Objective],
) -> tuple[Member, ...]:
    """The best of the members and the children, the best first."""
    order = front.ranked(points([*members, *children], objectives), KEPT)
    found = []
    for number in order:
        if number < len(members):
            found.append(members[number])
        else:
            child = children[number - len(members)]
            found.append(child.member(parents[child.slot % len(parents)], iteration))
    return tuple(found)


def points(ones: Sequence[Member | Judged], objectives: Sequence[Objective]) -> front.Points:
    """Change of accuracy, negative, and what is traded for it; float64[N,M]."""
    rows = [[-one.change, *(_amount(one, o) for o in objectives)] for one in ones]
    return np.array(rows, np.float64)


def _amount(one: Member | Judged, objective: Objective) -> float:
    match objective:
        case Objective.MACS:
            return one.macs
        case Objective.PARAMETERS:
            return one.parameters
        case Objective.LATENCY:
            return one.latency_ms or 0.0
