"""Solves a shape problem without a solver, where its structure is simple enough to do so exactly.

Assignments of the boundary are tried one after the other. Once it is known, sizes and widths have
nothing to do with each other: sizes by elimination, widths by equations with one unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from autogo_onnx.shapes.assignment import Assignment, TooMany, assignments
from autogo_onnx.shapes.direct_widths import Plan, choose_widths, plan_widths
from autogo_onnx.shapes.elimination import Table, TooEntangled, cheapest
from autogo_onnx.shapes.problem import Infeasible, Problem, Solution, cost
from autogo_onnx.shapes.windows import Size


def solve(problem: Problem) -> Solution | Infeasible | None:
    """The cheapest solution, or that there is none; None when the structure needs a solver."""
    try:
        found = assignments(problem)
        if isinstance(found, Infeasible):
            return found
        plan = plan_widths(problem)
        return None if plan is None else _best(problem, plan, found)
    except (TooMany, TooEntangled):
        return None


def _best(problem: Problem, plan: Plan, found: list[Assignment]) -> Solution | Infeasible:
    best: tuple[int, Solution] | None = None
    always = {"sizes": True, "widths": True}
    for assignment in found:
        widths = choose_widths(problem.widths, plan, dict(assignment.widths))
        sizes = choose_sizes(problem, assignment.sizes)
        always["widths"] &= widths is None
        always["sizes"] &= sizes is None
        if widths is None or sizes is None:
            continue
        solution = Solution(sizes, widths, assignment.inputs, assignment.outputs)
        price = cost(problem, solution)
        if best is None or price < best[0]:
            best = price, solution
    if best:
        return best[1]
    causes = [name for name, is_always in always.items() if is_always]
    cause = causes[0] if len(causes) == 1 else ""
    return Infeasible("sizes and channels do not agree", cause, problem)


def choose_sizes(problem: Problem, known: Mapping[int, Size]) -> tuple[Size, ...] | None:
    """The cheapest size per class, those of the boundary being known; None when there are none.

    Raises:
        TooEntangled: a class has too many neighbours.
    """
    tables: list[Table[Size]] = []
    for factor in problem.factors:
        scope, rows = _restricted((factor.classes, factor.costs), known)
        if not rows:
            return None
        if scope:
            tables.append((scope, rows))
    found = cheapest(tables)
    if found is None or any(size not in problem.domains[n] for n, size in known.items()):
        return None
    sizes = {n: domain[0] for n, domain in enumerate(problem.domains)} | dict(known) | found
    return tuple(sizes[number] for number in range(len(problem.domains)))


def _restricted(table: Table[Size], known: Mapping[int, Size]) -> Table[Size]:
    """The table over the classes that are not known, at the sizes of those that are."""
    scope, rows = table
    if known.keys().isdisjoint(scope):
        return table
    open_at = [place for place, number in enumerate(scope) if number not in known]
    set_at = [(place, known[number]) for place, number in enumerate(scope) if number in known]
    return tuple(scope[place] for place in open_at), {
        tuple(row[place] for place in open_at): cost
        for row, cost in rows.items()
        if all(row[place] == size for place, size in set_at)
    }
