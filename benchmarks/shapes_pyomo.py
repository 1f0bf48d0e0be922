"""Our own shape problem written with pyomo, for comparison: the same unknowns, rules and costs."""

from __future__ import annotations

from itertools import product
from typing import Any

import pyomo.environ as pyo

from autogo_onnx.shapes import level_model
from autogo_onnx.shapes.problem import OFF_LATTICE, Problem, Side, Widths, width_slopes

_Levels = list[dict[Any, Any]]


def model(problem: Problem) -> Any:
    """The level formulation of `autogo_onnx.shapes.level_model` as a program of pyomo."""
    program = pyo.ConcreteModel()
    program.rules = pyo.ConstraintList()
    levels = _add_levels(program, problem)
    costs = [*_add_flows(program, problem, levels), *_add_widths(program, problem)]
    for name in ("inputs", "outputs"):
        costs += _add_side(program, name, getattr(problem, name), levels)
    program.objective = pyo.Objective(expr=sum(costs))
    return program


def _add_levels(program: Any, problem: Problem) -> _Levels:
    keys = [(number, size) for number, domain in enumerate(problem.domains) for size in domain]
    program.level = pyo.Var(range(len(keys)), domain=pyo.Binary)
    levels: _Levels = [{} for _ in problem.domains]
    for index, (number, size) in enumerate(keys):
        levels[number][size] = program.level[index]
    for level in levels:
        program.rules.add(sum(level.values()) == 1)
    return levels


def _add_flows(program: Any, problem: Problem, levels: _Levels) -> list[Any]:
    keys = [(n, row) for n, factor in enumerate(problem.factors) for row in factor.costs]
    program.flow = pyo.Var(range(len(keys)), domain=pyo.NonNegativeReals)
    flows = {key: program.flow[index] for index, key in enumerate(keys)}
    for number, factor in enumerate(problem.factors):
        for position, domain in enumerate(factor.classes):
            for size, level in levels[domain].items():
                through = [flows[number, row] for row in factor.costs if row[position] == size]
                program.rules.add(sum(through) - level == 0)
    return [problem.factors[number].costs[row] * flow for (number, row), flow in flows.items()]


def _add_widths(program: Any, problem: Problem) -> list[Any]:
    widths, slopes = problem.widths, width_slopes(problem.widths)
    numbers = range(len(slopes))
    program.width = pyo.Var(numbers, domain=pyo.Integers, bounds=(1, None))
    program.away = pyo.Var(range(len(widths.targets)), domain=pyo.NonNegativeReals)
    for number, value in widths.fixed.items():
        program.width[number].fix(value)
    for index, target in enumerate(widths.targets):
        away = program.away[index]
        program.rules.add(away >= program.width[target.width] - target.wanted)
        program.rules.add(away >= target.wanted - program.width[target.width])
    for equation in widths.equations:
        program.rules.add(sum(c * program.width[n] for n, c in equation.terms) == 0)
    wishes = [target.slope * program.away[i] for i, target in enumerate(widths.targets)]
    slope_costs = [slopes[n] * program.width[n] for n in numbers if slopes[n]]
    return [*wishes, *slope_costs, *_add_lattices(program, problem), *_add_groups(program, widths)]


def _add_lattices(program: Any, problem: Problem) -> list[Any]:
    """A chosen width is a multiple of the step, one of those beside, or off it at a price."""
    widths = problem.widths
    at_boundary = {p.width for side in (problem.inputs, problem.outputs) for p in side.ports}
    free = [n for n, c in enumerate(widths.chosen) if c and n not in {*at_boundary, *widths.fixed}]
    if widths.step == 1:
        return []
    beside = [width for width in widths.also if width % widths.step]
    most = _most(widths) // widths.step
    program.steps = pyo.Var(free, domain=pyo.NonNegativeIntegers, bounds=(0, most))
    program.beside = pyo.Var(free, beside, domain=pyo.Binary)
    program.leaves = pyo.Var(free, domain=pyo.Binary)
    program.rest = pyo.Var(free, domain=pyo.NonNegativeIntegers, bounds=(0, widths.step - 1))
    for number in free:
        steps, rest, leaves = (v[number] for v in (program.steps, program.rest, program.leaves))
        others = {width: program.beside[number, width] for width in beside}
        listed = sum(width * chosen for width, chosen in others.items())
        program.rules.add(program.width[number] == widths.step * steps + listed + rest)
        program.rules.add(steps + most * sum(others.values()) <= most)
        program.rules.add(rest <= (widths.step - 1) * leaves)
        if not widths.may_leave:
            leaves.fix(0)
    return [OFF_LATTICE * program.leaves[number] for number in free]


def _add_groups(program: Any, widths: Widths) -> list[Any]:
    """Every grouped convolution takes one number of groups, and its widths are multiples of it."""
    keys = [(n, g) for n, grouping in enumerate(widths.groupings) for g, _ in grouping.options]
    uses = [(n, g, c) for n, g in keys for c in widths.groupings[n].classes]
    program.group = pyo.Var(keys, domain=pyo.Binary)
    program.times = pyo.Var(uses, domain=pyo.NonNegativeIntegers)
    most = _most(widths) * len(widths.chosen)
    for number, groups, width in uses:
        limit = most // groups * program.group[number, groups]
        program.rules.add(program.times[number, groups, width] <= limit)
    for number, grouping in enumerate(widths.groupings):
        program.rules.add(sum(program.group[number, g] for g, _ in grouping.options) == 1)
        for width in grouping.classes:
            multiples = (g * program.times[number, g, width] for g, _ in grouping.options)
            program.rules.add(program.width[width] == sum(multiples))
    return [
        cost * program.group[number, groups]
        for number, grouping in enumerate(widths.groupings)
        for groups, cost in grouping.options
    ]


def _most(widths: Widths) -> int:
    """More channels than any optimum has: all that is wished or given, rounded up, and multiplied.

    As loose as in our own program, so that the two are as hard.
    """
    return level_model._largest_choice(widths)


def _add_side(program: Any, name: str, side: Side, levels: _Levels) -> list[Any]:
    """Ports take demands, each one; a port takes the width and the size of its demand."""
    count = range(len(side.ports))
    costs = {
        (port, demand): cost
        for port, demand in product(count, count)
        if (cost := side.costs[port][demand]) is not None
    }
    chosen = pyo.Var(list(costs), domain=pyo.Binary)
    program.add_component(name, chosen)
    for number, port in enumerate(side.ports):
        program.rules.add(sum(chosen[key] for key in costs if key[0] == number) == 1)
        program.rules.add(sum(chosen[key] for key in costs if key[1] == number) == 1)
        mine = [(side.demands[number][d], chosen[p, d]) for p, d in costs if p == number]
        program.rules.add(program.width[port.width] == sum(d.width * v for d, v in mine))
        level = levels[port.size]
        for size in dict.fromkeys([*level, *(demand.size for demand, _ in mine)]):
            taken = sum(v for demand, v in mine if demand.size == size)
            program.rules.add(taken == level.get(size, 0))
    return [cost * chosen[key] for key, cost in costs.items()]
