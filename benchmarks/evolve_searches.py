"""Ways to look for better networks of a space, all with the same number of evaluations.

- `segments`, `operators`: the search that `evolve` runs, with either unit; only children that stay
  in the space count;
- `table`: its parents and fronts, but children are what the table's authors chose between: another
  operation on an edge, another block at a position.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from autogo_onnx.evolution import Evolution, Judges, Run, Settings, Unit, evolve, front
from autogo_onnx.opgraph import OpGraph
from benchmarks.evolve_spaces import LIMITS, NASBENCH201, Space
from benchmarks.evolve_values import Floats, TableValue

SEGMENTS, OPERATORS, TABLE = "segments", "operators", "table"
PARENTS, CHILDREN, MOST_ITERATIONS = 5, 10, 60
IDLE_ITERATIONS = 10  # without a new network: there are no more to be had


@dataclass(frozen=True)
class Case:
    """Where a search starts and how far it may go.

    Attributes:
        base: number of a network.
        barred: networks that do not count.
        most: networks that may be evaluated.
    """

    space: Space
    base: int
    barred: Collection[int]
    most: int
    seed: int


def evaluated(case: Case, search: str, members: Floats, run: Run) -> list[int]:
    """The networks that a search evaluates in order, the base first.

    Args:
        search: `segments`, `operators` or `table`.
        members: what is predicted of every network of the space, float64[N,K].
        run: how `evolve` runs.
    """
    if search == TABLE:
        return _by_neighbours(case, members)
    return _by_evolution(case, Unit.SEGMENT if search == SEGMENTS else Unit.OP, members, run)


def unbeaten(numbers: Sequence[int], members: Floats, space: Space) -> list[int]:
    """The front of some networks, the best predicted first."""
    mean = members.mean(axis=1)
    points = np.array([[-mean[n], space.macs[n]] for n in numbers])
    beaten = front.is_beaten(points)
    left = [n for n, is_beaten in zip(numbers, beaten, strict=True) if not is_beaten]
    return sorted(left, key=lambda n: -mean[n])


class _EnoughError(Exception):
    """As many networks as wanted are evaluated, or there are no more."""


class _Admission:
    """Admits every network of the space once, until they are enough."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.numbers = [case.base]

    def __call__(self, graph: OpGraph) -> bool:
        if len(self.numbers) > self._case.most:
            raise _EnoughError
        number = self._case.space.number(graph)
        # One network may be written in several ways, as the sum of three terms is.
        if number is None or number in self._case.barred or number in self.numbers:
            return False
        self.numbers.append(number)
        return True

    def watch(self, found: Evolution) -> None:
        """Give up a search that finds no more."""
        latest = found.counts[-IDLE_ITERATIONS:]
        if len(latest) == IDLE_ITERATIONS and not any(count.children for count in latest):
            raise _EnoughError


def _by_evolution(case: Case, unit: Unit, members: Floats, run: Run) -> list[int]:
    space = case.space
    admission = _Admission(case)
    value = TableValue(space.number, case.base, members)
    settings = Settings(
        iterations=MOST_ITERATIONS,
        parents=PARENTS,
        children=CHILDREN,
        unit=unit,
        ends=space.labels.family == NASBENCH201,  # a cell begins and ends within the network
        seed=case.seed,
    )
    limits = LIMITS[space.labels.family]
    judges, watched = Judges(value, admission), replace(run, watch=admission.watch)
    with suppress(_EnoughError):
        evolve(space.graphs[case.base], judges, settings, limits, watched)
    return admission.numbers


def _by_neighbours(case: Case, members: Floats) -> list[int]:
    space, generator = case.space, np.random.default_rng(case.seed)
    reachable = space.reachable(case.base).difference(case.barred)
    known = [case.base]
    while len(known) <= case.most:
        points = np.column_stack([-members[known].mean(axis=1), space.macs[known]])
        fresh: list[int] = []
        parents = 0
        for index in front.ranked(points, len(known)):
            near = generator.permutation(space.labels.neighbours[known[index]]).tolist()
            new = (n for n in near if n in reachable and n not in known and n not in fresh)
            children = list(islice(new, CHILDREN))
            fresh += children
            parents += bool(children)  # one without children leaves its turn to the next
            if parents == PARENTS:
                break
        if not fresh:
            break
        known += fresh
    return known[: case.most + 1]
