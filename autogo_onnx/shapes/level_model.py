"""The shape problem as one small mixed-integer linear program (python-mip; CBC or HiGHS).

Level formulation: a size class takes one of its reachable sizes by a one-hot row; every operator
is a unit of flow over its table of size combinations, so the relaxation is nearly integral. Widths
are integers on the lattice, the assignment of boundary tensors is a permutation matrix. All
coefficients are integers, so a gap below 1 proves the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from math import lcm, prod
from typing import Any

import mip

from autogo_onnx.shapes.problem import (
    OFF_LATTICE,
    Grouping,
    Infeasible,
    Problem,
    Side,
    Solution,
    Widths,
    width_slopes,
)
from autogo_onnx.shapes.quiet import quiet_stdout, return_free_memory
from autogo_onnx.shapes.windows import Size

_Levels = list[dict[Size, Any]]
_SOLVES_PER_TIDYING = 256
_MOST_CHANNELS = 1 << 20
_INFEASIBLE = {mip.OptimizationStatus.INFEASIBLE, mip.OptimizationStatus.INT_INFEASIBLE}
_solves = count(1)


def solve(problem: Problem, max_seconds: float, solver: str = "CBC") -> Solution | Infeasible:
    """The cheapest solution, or that there is none within the time.

    Args:
        problem: by `posing.pose`.
        max_seconds: for the solver.
        solver: "CBC" or "HIGHS" (needs `highspy`).
    """
    model = mip.Model(solver_name=solver)
    model.verbose, model.threads, model.seed = 0, 1, 0
    model.max_mip_gap, model.max_mip_gap_abs = 0.0, 0.5
    # Tie-breaks are a millionth of the objective: the default tolerances would let them slip.
    model.infeas_tol = model.opt_tol = model.integer_tol = 1e-9
    levels = _add_levels(model, problem)
    widths = _add_widths(model, problem.widths, problem)
    sides = [_add_side(model, side, levels, widths) for side in (problem.inputs, problem.outputs)]
    with quiet_stdout():
        status = model.optimize(max_seconds=max_seconds)
        if solver == "HIGHS" and status in _INFEASIBLE:
            # Presolve of HiGHS 1.15.1 takes one in a thousand of our problems for infeasible.
            model.solver._set_string_option_value("presolve", "off")
            status = model.optimize(max_seconds=max_seconds)
    if next(_solves) % _SOLVES_PER_TIDYING == 0:
        return_free_memory()
    if status == mip.OptimizationStatus.OPTIMAL:
        return Solution(
            sizes=tuple(max(row, key=lambda size: row[size].x) for row in levels),
            widths=tuple(round(width.x) for width in widths),
            inputs=_assignment(sides[0], problem.inputs),
            outputs=_assignment(sides[1], problem.outputs),
        )
    if status in _INFEASIBLE:
        return Infeasible("no strides and widths satisfy all operators at once", problem=problem)
    return Infeasible(f"no proven answer within {max_seconds:g} s", cause="time")


def _add_levels(model: Any, problem: Problem) -> _Levels:
    """One-hot sizes per class, and per operator a flow over the combinations it allows."""
    levels: _Levels = []
    for domain in problem.domains:
        row = {size: model.add_var(var_type=mip.BINARY) for size in domain}
        model.add_constr(mip.xsum(row.values()) == 1)
        levels.append(row)
    for factor in problem.factors:
        flows = {row: model.add_var(lb=0, obj=cost) for row, cost in factor.costs.items()}
        for position, number in enumerate(factor.classes):
            through: dict[Size, list[Any]] = {size: [] for size in levels[number]}
            for sizes, flow in flows.items():
                through[sizes[position]].append(flow)
            for size, level in levels[number].items():
                model.add_constr(mip.xsum(through[size]) - level == 0)
    return levels


def _add_widths(model: Any, widths: Widths, problem: Problem) -> list[Any]:
    """Widths with their targets, equations and, where an operator chooses freely, the lattice."""
    at_boundary = {p.width for side in (problem.inputs, problem.outputs) for p in side.ports}
    settled = {**_only_demands(problem), **widths.fixed}
    slopes, largest = width_slopes(widths), _largest_choice(widths)
    most = min(largest * (1 + len(slopes)), _MOST_CHANNELS)  # of a sum of chosen widths
    variables = []
    for number, slope in enumerate(slopes):
        fixed = settled.get(number)
        low, high = (1, most) if fixed is None else (fixed, fixed)
        width = model.add_var(lb=low, ub=high, obj=slope, var_type=mip.INTEGER)
        if widths.chosen[number] and number not in at_boundary and fixed is None:
            _add_lattice(model, width, widths, largest)
        variables.append(width)
    for target in widths.targets:
        away = model.add_var(lb=0, obj=target.slope)
        model.add_constr(away - variables[target.width] >= -target.wanted)
        model.add_constr(away + variables[target.width] >= target.wanted)
    for equation in widths.equations:
        model.add_constr(mip.xsum(c * variables[number] for number, c in equation.terms) == 0)
    for grouping in widths.groupings:
        _add_groups(model, grouping, variables, most)
    return variables


def _only_demands(problem: Problem) -> dict[int, int]:
    """The widths of boundary classes for which all demands ask the same."""
    found = {}
    for side in (problem.inputs, problem.outputs):
        for port, demands, costs in zip(side.ports, side.demands, side.costs, strict=True):
            asked = {d.width for d, cost in zip(demands, costs, strict=True) if cost is not None}
            if len(asked) == 1:
                found[port.width] = asked.pop()
    return found


def _add_lattice(model: Any, width: Any, widths: Widths, largest: int) -> None:
    """Width = step * k, or one of the widths allowed beside the lattice, or off it at a price."""
    if widths.step == 1:
        return
    most = largest // widths.step
    steps = model.add_var(lb=0, ub=most, var_type=mip.INTEGER)
    others = {w: model.add_var(var_type=mip.BINARY) for w in widths.also if w % widths.step}
    beside = [w * chosen for w, chosen in others.items()]
    if widths.may_leave:
        leaves = model.add_var(obj=OFF_LATTICE, var_type=mip.BINARY)
        rest = model.add_var(lb=0, ub=widths.step - 1, var_type=mip.INTEGER)
        model.add_constr(rest - (widths.step - 1) * leaves <= 0)
        beside.append(rest)
    model.add_constr(width - widths.step * steps - mip.xsum(beside) == 0)
    if others:
        model.add_constr(steps + most * mip.xsum(others.values()) <= most)


def _add_groups(model: Any, grouping: Grouping, widths: Sequence[Any], largest: int) -> None:
    """One number of groups is chosen; both widths are multiples of it."""
    chosen = [model.add_var(obj=cost, var_type=mip.BINARY) for _, cost in grouping.options]
    model.add_constr(mip.xsum(chosen) == 1)
    for number in grouping.classes:
        for (groups, _), choice in zip(grouping.options, chosen, strict=True):
            if groups > 1:
                times = model.add_var(lb=0, ub=largest // groups, var_type=mip.INTEGER)
                rest = widths[number] - groups * times
                model.add_constr(rest >= 0)
                model.add_constr(rest + largest * choice <= largest)


def _largest_choice(widths: Widths) -> int:
    """A bound on chosen widths that no optimal solution exceeds: sums and multiples of wishes."""
    known = [t.wanted for t in widths.targets] + [*widths.also, *widths.fixed.values()]
    factor = prod(max((abs(c) for _, c in e.terms), default=1) for e in widths.equations)
    steps = lcm(widths.step, *(groups for g in widths.groupings for groups, _ in g.options[:1]))
    return min((sum(known) + steps * (len(known) + 1)) * factor, _MOST_CHANNELS)


def _add_side(
    model: Any, side: Side, levels: _Levels, widths: Sequence[Any]
) -> Mapping[tuple[int, int], Any]:
    """A permutation of the demands over the ports; each port takes its demand's size and width."""
    count = range(len(side.ports))
    pairs = {
        (port, demand): model.add_var(obj=cost, var_type=mip.BINARY)
        for port in count
        for demand in count
        if (cost := side.costs[port][demand]) is not None
    }
    for number in count:
        model.add_constr(mip.xsum(v for (p, _), v in pairs.items() if p == number) == 1)
        model.add_constr(mip.xsum(v for (_, d), v in pairs.items() if d == number) == 1)
    for number, port in enumerate(side.ports):
        mine = [(side.demands[number][d], v) for (p, d), v in pairs.items() if p == number]
        offered = mip.xsum(demand.width * v for demand, v in mine)
        model.add_constr(widths[port.width] - offered == 0)
        for size in dict.fromkeys([*levels[port.size], *(demand.size for demand, _ in mine)]):
            taken = mip.xsum(v for demand, v in mine if demand.size == size)
            model.add_constr(taken - levels[port.size].get(size, 0) == 0)
    return pairs


def _assignment(pairs: Mapping[tuple[int, int], Any], side: Side) -> tuple[int, ...]:
    return tuple(
        next(d for (p, d), chosen in pairs.items() if p == port and chosen.x > 0.5)
        for port in range(len(side.ports))
    )
