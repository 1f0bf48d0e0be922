"""Widths without a solver: equations with one unknown in turn, the rest chosen for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import lcm

from autogo_onnx.shapes.elimination import Table, cheapest
from autogo_onnx.shapes.problem import (
    OFF_LATTICE,
    Equation,
    Grouping,
    Problem,
    Target,
    Widths,
    width_slopes,
)


@dataclass(frozen=True)
class Plan:
    """Order of work: classes solved from equations, free ones, then sums that nobody else reads.

    Attributes:
        targets: by free class.
        groupings: those that hold a free class.
    """

    solved: tuple[tuple[int, Equation], ...]
    free: tuple[int, ...]
    summed: tuple[tuple[int, Equation], ...]
    targets: Mapping[int, tuple[Target, ...]]
    groupings: tuple[Grouping, ...]


def plan_widths(problem: Problem) -> Plan | None:
    """How to find the widths one by one; None when several unknowns share an equation."""
    widths = problem.widths
    known = {port.width for side in (problem.inputs, problem.outputs) for port in side.ports}
    known |= set(widths.fixed)
    solved: list[tuple[int, Equation]] = []
    left = list(widths.equations)
    while ready := [e for e in left if len(_unknown(e, known)) == 1]:
        equation = ready[0]
        number = _unknown(equation, known)[0]
        solved.append((number, equation))
        known.add(number)
        left.remove(equation)
    left = [e for e in left if _unknown(e, known)]
    summed: list[tuple[int, Equation]] = []
    while left:
        tail = next(((n, e) for e in left if (n := _sum_of(e, left, known, widths)) >= 0), None)
        if tail is None:
            return None
        summed.insert(0, tail)
        left.remove(tail[1])
    later = {number for number, _ in summed}
    if any(later.intersection(grouping.classes) for grouping in widths.groupings):
        return None
    free = [n for n in range(len(widths.chosen)) if n not in known | later]
    wished = {n: tuple(t for t in widths.targets if t.width == n) for n in free}
    grouped = tuple(g for g in widths.groupings if not set(g.classes).isdisjoint(free))
    return Plan(tuple(solved), tuple(free), tuple(summed), wished, grouped)


def _unknown(equation: Equation, known: set[int]) -> list[int]:
    return [number for number, _ in equation.terms if number not in known]


def _sum_of(equation: Equation, left: Sequence[Equation], known: set[int], widths: Widths) -> int:
    """The class that is just the sum of the others and that nothing else cares for; -1 if none."""
    for number, coefficient in equation.terms:
        others = [c for n, c in equation.terms if n != number]
        is_sum = abs(coefficient) == 1 and all(c * coefficient < 0 for c in others)
        readers = [e for e in left if any(n == number for n, _ in e.terms)]
        if is_sum and number not in known and not widths.chosen[number] and len(readers) == 1:
            return number
    return -1


def choose_widths(widths: Widths, plan: Plan, known: dict[int, int]) -> tuple[int, ...] | None:
    """The cheapest width per class; None when there are none. `known`: of the boundary.

    Raises:
        TooEntangled: too many grouped convolutions hang on each other.
    """
    for number, equation in plan.solved:
        rest = sum(c * known[n] for n, c in equation.terms if n != number)
        own = next(c for n, c in equation.terms if n == number)
        width, remainder = divmod(-rest, own)
        if remainder or not widths.allows(number, width):
            return None
        known[number] = width
    _choose_free(widths, plan, known)
    for number, equation in plan.summed:
        known[number] = abs(sum(c * known[n] for n, c in equation.terms if n != number))
    if any(sum(c * known[n] for n, c in e.terms) for e in widths.equations):
        return None
    return tuple(known[number] for number in range(len(widths.chosen)))


def _choose_free(widths: Widths, plan: Plan, known: dict[int, int]) -> None:
    """Free classes for themselves, but for those whose grouped convolutions tie them together."""
    slopes = width_slopes(widths)

    def cost(number: int, width: int) -> int:
        away = sum(t.slope * abs(width - t.wanted) for t in plan.targets[number])
        off = OFF_LATTICE * (not widths.is_on_lattice(number, width))
        return slopes[number] * width + away + off

    tied = {n for g in plan.groupings for n in g.classes if n not in known}
    for number in plan.free:
        if number not in tied:
            offers = _candidates(widths, plan.targets[number], (widths.step,))
            known[number] = min(offers, key=lambda w: (cost(number, w), w))
    if not tied:
        return
    tables: list[Table[int]] = []
    offered: dict[int, list[int]] = {
        n: [known[n]] for g in plan.groupings for n in g.classes if n in known
    }
    for number in sorted(tied):
        steps = list(_steps(widths, [g for g in plan.groupings if number in g.classes]))
        offered[number] = _candidates(widths, plan.targets[number], steps)
        tables.append(((number,), {(w,): cost(number, w) for w in offered[number]}))
    for grouping in plan.groupings:
        rows = product(*(offered[number] for number in grouping.classes))
        tables.append((grouping.classes, {row: grouping.cost(row) for row in rows}))
    known |= cheapest(tables) or {}


def _steps(widths: Widths, groupings: Sequence[Grouping]) -> Iterator[int]:
    """What a class may be a multiple of, by the numbers of groups that its convolutions take."""
    for chosen in product(*([n for n, _ in g.options] for g in groupings)):
        yield lcm(widths.step, *chosen)
        if widths.may_leave:
            yield lcm(*chosen)


def _candidates(widths: Widths, targets: Sequence[Target], steps: Sequence[int]) -> list[int]:
    """Widths one of which is the cheapest.

    The cost is convex on the multiples of each step, so that is one beside a target, or one of the
    boundary's; off the lattice, a target itself.
    """
    found = set(widths.also)
    for step in steps:
        found.update(max(step, t.wanted // step * step + up) for t in targets for up in (0, step))
    if widths.may_leave:
        found.update(t.wanted for t in targets)
    return sorted(found or {widths.step})
