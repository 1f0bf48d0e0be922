"""Solves a shape problem without a solver, where its structure is simple enough to do so exactly.

Sizes: classes of at most two neighbours are eliminated one by one (chains, residual and inception
shapes vanish this way). Widths: equations with one unknown are solved in turn; what is then left
unbound by any equation is chosen for itself. Several assignments are tried one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from autogo_onnx.shapes.problem import (
    Equation,
    Infeasible,
    Problem,
    Side,
    Solution,
    Widths,
    cost,
    width_slopes,
)
from autogo_onnx.shapes.windows import Size

_MAX_ASSIGNMENTS = 24

_Table = dict[tuple[Size, ...], int]
_Scoped = tuple[tuple[int, ...], _Table]


@dataclass(frozen=True)
class _WidthPlan:
    """Order of work: classes solved from equations, free ones, then sums that nobody else reads."""

    solved: tuple[tuple[int, Equation], ...]
    free: tuple[int, ...]
    summed: tuple[tuple[int, Equation], ...]


def solve(problem: Problem) -> Solution | Infeasible | None:
    """The cheapest solution, or why there is none; None when the structure needs a solver."""
    assignments = list(_assignments(problem))
    plan = _plan_widths(problem)
    if plan is None or len(assignments) > _MAX_ASSIGNMENTS:
        return None
    best: tuple[int, Solution] | None = None
    reason = Infeasible("no boundary tensor has the rank that is demanded")
    for inputs, outputs in reversed(assignments):  # the first one's reason is the one to keep
        solution = _solve_assigned(problem, plan, inputs, outputs)
        if solution is None:
            return None
        if isinstance(solution, Infeasible):
            reason = solution
            continue
        price = cost(problem, solution)
        if best is None or price <= best[0]:
            best = price, solution
    return best[1] if best else reason


def _assignments(problem: Problem) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs of possible assignments, the identity first; equal demands change places only once."""
    yield from product(_of_side(problem.inputs), _of_side(problem.outputs))


def _of_side(side: Side) -> list[tuple[int, ...]]:
    cheapest: dict[tuple[object, ...], tuple[int, tuple[int, ...]]] = {}
    for assignment in permutations(range(len(side.ports))):
        price = side.cost(assignment)
        if price is None:
            continue
        served = tuple(side.demands[number] for number in assignment)
        if served not in cheapest or price < cheapest[served][0]:
            cheapest[served] = price, assignment
    return [assignment for _, assignment in cheapest.values()]


def _solve_assigned(
    problem: Problem, plan: _WidthPlan, inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> Solution | Infeasible | None:
    sides = ((problem.inputs, inputs), (problem.outputs, outputs))
    sizes: dict[int, Size] = {}
    widths: dict[int, int] = dict(problem.widths.fixed)
    for side, assignment in sides:
        for port, number in zip(side.ports, assignment, strict=True):
            demand = side.demands[number]
            if sizes.setdefault(port.size, demand.size) != demand.size:
                return Infeasible(f"{_both(sizes[port.size], demand.size)} meet in one tensor size")
            if widths.setdefault(port.width, demand.width) != demand.width:
                name = problem.widths.names[port.width]
                known = widths[port.width]
                return Infeasible(
                    f"{name}: nothing in between changes {known} channels to {demand.width}"
                )
    chosen = _choose_widths(problem.widths, plan, widths)
    if isinstance(chosen, Infeasible):
        return chosen
    found = _choose_sizes(problem, sizes)
    if found is None or isinstance(found, Infeasible):
        return found
    return Solution(found, chosen, inputs, outputs)


def _both(first: Size, second: Size) -> str:
    return " and ".join("x".join(map(str, size)) for size in (first, second))


def _plan_widths(problem: Problem) -> _WidthPlan | None:
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
    bound = known | {number for number, _ in summed}
    free = tuple(n for n in range(len(widths.chosen)) if n not in bound)
    return _WidthPlan(tuple(solved), free, tuple(summed))


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


def _choose_widths(
    widths: Widths, plan: _WidthPlan, known: dict[int, int]
) -> tuple[int, ...] | Infeasible:
    for number, equation in plan.solved:
        rest = sum(c * known[n] for n, c in equation.terms if n != number)
        own = next(c for n, c in equation.terms if n == number)
        width, remainder = divmod(-rest, own)
        if remainder or not widths.allows(number, width):
            return Infeasible(
                f"{equation.name}: {widths.names[number]} would need {-rest / own:g} channels"
            )
        known[number] = width
    for number in plan.free:
        known[number] = _nearest(widths, number)
    for number, equation in plan.summed:
        known[number] = abs(sum(c * known[n] for n, c in equation.terms if n != number))
    for equation in widths.equations:
        if sum(c * known[n] for n, c in equation.terms):
            parts = ", ".join(f"{widths.names[n]} {known[n]}" for n, _ in equation.terms)
            return Infeasible(f"{equation.name}: channels do not add up ({parts})")
    return tuple(known[number] for number in range(len(widths.chosen)))


def _nearest(widths: Widths, number: int) -> int:
    """The cheapest allowed width: beside a target, since the cost is convex, or at the boundary."""
    targets = [t for t in widths.targets if t.width == number]
    step, slope = widths.step, width_slopes(widths)[number]
    steps = {max(step, t.wanted // step * step + up) for t in targets for up in (0, step)}
    return min(
        sorted({*steps, *widths.also}),
        key=lambda w: slope * w + sum(t.slope * abs(w - t.wanted) for t in targets),
    )


def _choose_sizes(
    problem: Problem, known: Mapping[int, Size]
) -> tuple[Size, ...] | Infeasible | None:
    """Cheapest sizes by eliminating classes of at most two neighbours; None where one has more."""
    tables: list[_Scoped] = []
    for factor in problem.factors:
        scope, table = _restricted((factor.classes, dict(factor.costs)), known)
        if not table:
            return Infeasible(f"{factor.name}: no strides lead to the demanded sizes from here")
        tables.append((scope, table))
    if any(size not in problem.domains[number] for number, size in known.items()):
        return Infeasible("no strides lead to the demanded sizes")
    order: list[tuple[int, tuple[int, ...], dict[tuple[Size, ...], Size]]] = []
    for _ in range(len(problem.domains)):
        degree = {n: _neighbours(n, tables) for scope, _ in tables for n in scope}
        if not degree:
            break
        number = min(degree, key=lambda n: (len(degree[n]), n))
        if len(degree[number]) > 2:
            return None
        mine = [t for t in tables if number in t[0]]
        tables = [t for t in tables if number not in t[0]]
        table, choices = _eliminate(number, degree[number], mine, problem.domains)
        if not table:
            names = ", ".join(f.name for f in problem.factors)
            return Infeasible(f"no strides of {names} lead to the demanded sizes together")
        tables.append((degree[number], table))
        order.append((number, degree[number], choices))
    sizes = {n: domain[0] for n, domain in enumerate(problem.domains)} | dict(known)
    for number, scope, choices in reversed(order):
        sizes[number] = choices[tuple(sizes[n] for n in scope)]
    return tuple(sizes[number] for number in range(len(problem.domains)))


def _restricted(scoped: _Scoped, known: Mapping[int, Size]) -> _Scoped:
    """The table over the classes that are not known, at the sizes of those that are."""
    scope, table = scoped
    open_at = [position for position, number in enumerate(scope) if number not in known]
    rows = {
        tuple(row[position] for position in open_at): price
        for row, price in table.items()
        if all(known.get(n, size) == size for n, size in zip(scope, row, strict=True))
    }
    return tuple(scope[position] for position in open_at), rows


def _neighbours(number: int, tables: Sequence[_Scoped]) -> tuple[int, ...]:
    return tuple(sorted({n for scope, _ in tables if number in scope for n in scope} - {number}))


def _eliminate(
    number: int,
    neighbours: tuple[int, ...],
    tables: Sequence[_Scoped],
    domains: Sequence[tuple[Size, ...]],
) -> tuple[_Table, dict[tuple[Size, ...], Size]]:
    """Cheapest cost over a class's sizes for every combination of its neighbours' sizes."""
    costs: _Table = {}
    choices: dict[tuple[Size, ...], Size] = {}
    for row in product(*(domains[n] for n in neighbours)):
        sizes = dict(zip(neighbours, row, strict=True))
        for size in domains[number]:
            sizes[number] = size
            rows = [table.get(tuple(sizes[n] for n in scope)) for scope, table in tables]
            prices = [price for price in rows if price is not None]
            if len(prices) == len(rows) and sum(prices) < costs.get(row, sum(prices) + 1):
                costs[row], choices[row] = sum(prices), size
    return costs, choices
