"""Shape adaptation of random segments: valid, exact, and nothing is cheaper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_cases import random_demand, random_segment
from shape_checks import run_and_check, try_to_pose
from shape_demands import meetable_demand

from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.shapes import Infeasible, adapt, direct, level_model
from autogo_onnx.shapes.operators import read
from autogo_onnx.shapes.posing import alternatives, pose
from autogo_onnx.shapes.problem import Problem, Side, Solution, Widths, cost, width_cost
from autogo_onnx.shapes.solver import solve
from autogo_onnx.shapes.structure import Freedom, Structure
from autogo_onnx.shapes.windows import Size

seeds = st.integers(0, 100_000)


@given(seeds)
def test_solutions_run_with_exactly_the_demanded_shapes(seed: int) -> None:
    check_that_solutions_run(seed)


def check_that_solutions_run(seed: int) -> None:
    segment = random_segment(seed)
    inputs, outputs = random_demand(segment, seed)
    graph = adapt(segment, inputs, outputs)
    if isinstance(graph, OpGraph):
        run_and_check(graph, inputs, outputs)
        if not _is_on_lattice(segment, graph, 8):
            _check_that_it_must_leave(segment, inputs, outputs, 8)
    else:
        assert graph.reason


@given(seeds)
def test_what_an_operator_makes_of_other_sizes_can_be_demanded(seed: int) -> None:
    """Slices, pads, reshapes, groups, upsampling: sizes that they give are never refused."""
    check_that_mined_sizes_are_met(seed)


def check_that_mined_sizes_are_met(seed: int) -> None:
    segment = random_segment(seed, rich=True)
    demand = meetable_demand(segment, seed)
    if demand is None:
        return
    graph = adapt(segment, *demand)
    if isinstance(graph, OpGraph):
        run_and_check(graph, *demand)
    else:
        assert "channels" in graph.reason
        assert any(f"{op.kind} (" in graph.reason for op in segment.ops)


def _is_on_lattice(segment: OpGraph, graph: OpGraph, step: int) -> bool:
    """Freely chosen widths are multiples of the step or a boundary's."""
    boundary = {shape[1] for shape in (*graph.input_shapes, *graph.output_shapes)}
    return all(
        shape[1] % step == 0 or shape[1] in boundary
        for op, mined, shape in zip(graph.ops, segment.op_shapes, graph.op_shapes, strict=True)
        if op.kind == "Conv" and op.get("group") == 1 and mined[1] > 1
    )


def _check_that_it_must_leave(
    segment: OpGraph, inputs: list[Shape], outputs: list[Shape], step: int
) -> None:
    problem = try_to_pose(segment, inputs, outputs, step)
    assert problem is None or isinstance(solve(problem, 10.0), Infeasible)


@given(seeds, st.booleans())
def test_both_solvers_find_the_same_answer(seed: int, rich: bool) -> None:
    check_that_solvers_agree(seed, rich)


def check_that_solvers_agree(seed: int, rich: bool) -> None:
    segment = random_segment(seed, rich=rich)
    demand = meetable_demand(segment, seed) if rich else random_demand(segment, seed)
    problem = try_to_pose(segment, *demand, step=8) if demand else None
    if problem is None:
        return
    first, second = direct.solve(problem), level_model.solve(problem, 10.0)
    if isinstance(first, Solution):
        assert isinstance(second, Solution)
        assert cost(problem, first) == cost(problem, second)
        assert first == second
    elif isinstance(first, Infeasible):
        assert isinstance(second, Infeasible)


@settings(max_examples=120)
@given(seeds, st.booleans())
def test_brute_force_agrees_on_the_objective(seed: int, rich: bool) -> None:
    segment = random_segment(seed, most=4, rich=rich)
    demand = meetable_demand(segment, seed) if rich else random_demand(segment, seed)
    problem = try_to_pose(segment, *demand, step=16) if demand else None
    if problem is None or sum(problem.widths.chosen) > 4:
        return
    solution = solve(problem, 10.0)
    expected = min(brute_force(problem), default=None)
    if isinstance(solution, Solution):
        assert cost(problem, solution) == expected
    else:
        assert expected is None


@settings(max_examples=60)
@given(seeds)
def test_brute_force_agrees_off_the_lattice(seed: int) -> None:
    segment = random_segment(seed, most=4, rich=bool(seed % 2))
    inputs, outputs = random_demand(segment, seed)
    outputs = [(n, width + seed % 3, *size) for n, width, *size in outputs]
    found = read(segment, Freedom(multiple_of=8))
    assert isinstance(found, Structure)
    problems = alternatives(found, inputs, outputs, may_leave_lattice=True)
    if isinstance(problems, Infeasible):
        return
    part = problems[0].widths
    largest = max(part.also + tuple(target.wanted for target in part.targets))
    if largest > 72 or sum(part.chosen) > 3:
        return
    solution = solve(problems[0], 10.0)
    expected = min(brute_force(problems[0]), default=None)
    assert (cost(problems[0], solution) if isinstance(solution, Solution) else None) == expected


def brute_force(problem: Problem) -> Iterator[int]:
    """Costs of all solutions: every assignment, every size per class, every width per class."""
    for inputs, outputs in product(assignments(problem.inputs), assignments(problem.outputs)):
        known_sizes: dict[int, set[Size]] = {}
        known_widths: dict[int, set[int]] = {n: {w} for n, w in problem.widths.fixed.items()}
        for side, assignment in ((problem.inputs, inputs), (problem.outputs, outputs)):
            for port, offered, number in zip(side.ports, side.demands, assignment, strict=True):
                demand = offered[number]
                known_sizes.setdefault(port.size, set()).add(demand.size)
                known_widths.setdefault(port.width, set()).add(demand.width)
        if max(map(len, known_sizes.values())) > 1 or max(map(len, known_widths.values())) > 1:
            continue
        base = (problem.inputs.cost(inputs) or 0) + (problem.outputs.cost(outputs) or 0)
        sizes = list(all_size_costs(problem, known_sizes))
        chosen = list(all_width_costs(problem, {n: min(v) for n, v in known_widths.items()}))
        if sizes and chosen:
            yield base + min(sizes) + min(chosen)


def assignments(side: Side) -> list[tuple[int, ...]]:
    orders = permutations(range(len(side.ports)))
    return [order for order in orders if side.cost(order) is not None]


def all_size_costs(problem: Problem, known: dict[int, set[Size]]) -> Iterator[int]:
    domains = [
        [size for size in domain if size in known.get(number, {size})]
        for number, domain in enumerate(problem.domains)
    ]
    for sizes in product(*domains):
        rows = [tuple(sizes[n] for n in factor.classes) for factor in problem.factors]
        costs = [f.costs.get(row) for f, row in zip(problem.factors, rows, strict=True)]
        if None not in costs:
            yield sum(c for c in costs if c is not None)


def all_width_costs(problem: Problem, known: dict[int, int]) -> Iterator[int]:
    """Chosen classes take every width up to a bound that they may have; others follow."""
    part = problem.widths
    free = [n for n, chosen in enumerate(part.chosen) if chosen and n not in known]
    multiples = range(1, 97) if part.may_leave else range(part.step, 321, part.step)
    values = sorted({*multiples, *part.also})
    for choice in product(values, repeat=len(free)):
        widths = complete(part, {**known, **dict(zip(free, choice, strict=True))})
        if widths is not None:
            yield width_cost(problem, widths)


def complete(part: Widths, known: dict[int, int]) -> list[int] | None:
    """Widths that the equations set, one unknown at a time; None when one does not hold."""
    for _ in part.equations:
        for equation in part.equations:
            open_terms = [(n, c) for n, c in equation.terms if n not in known]
            total = sum(c * known[n] for n, c in equation.terms if n in known)
            if len(open_terms) == 1:
                number, coefficient = open_terms[0]
                known[number] = -total // coefficient
            elif not open_terms and total:
                return None
    if any(sum(c * known[n] for n, c in equation.terms) for equation in part.equations):
        return None
    return [known[n] for n in range(len(part.chosen))] if min(known.values()) > 0 else None


@settings(max_examples=120)
@given(seeds)
def test_no_cheaper_strides_and_pads_exist(seed: int) -> None:
    """Sizes against every combination of options, propagated operator by operator."""
    segment = random_segment(seed, most=5)
    if segment.n_inputs > 1 or len(segment.outputs) > 1:
        return
    inputs, outputs = random_demand(segment, seed)
    outputs = [(1, segment.output_shapes[0][1], *outputs[0][2:])]
    inputs = [(1, segment.input_shapes[0][1], *inputs[0][2:])]
    found = read(segment, Freedom(multiple_of=1))
    assert isinstance(found, Structure)
    options = [found.options.get(i, (None,)) for i in range(len(segment.ops))]
    best = None
    for choice in product(*options):
        if final_size(segment, choice, inputs[0][2:]) == outputs[0][2:]:
            price = sum(option.cost for option in choice if option)
            best = price if best is None else min(best, price)
    problem = pose(found, inputs, outputs)
    solution = problem if isinstance(problem, Infeasible) else solve(problem, 10.0)
    if isinstance(problem, Problem) and isinstance(solution, Solution):
        rest = width_cost(problem, solution.widths) + sum(
            side.cost(assignment) or 0
            for side, assignment in (
                (problem.inputs, solution.inputs),
                (problem.outputs, solution.outputs),
            )
        )
        assert cost(problem, solution) - rest == best
    elif best is not None:  # the sizes could be had: then the channels could not
        assert isinstance(solution, Infeasible)
        assert "size" not in solution.reason


def final_size(segment: OpGraph, choice: Sequence[object], size: Size) -> Size | None:
    """The output's size when every operator takes the chosen option; None when invalid."""
    sizes: list[Size] = [size]
    for op, option in zip(segment.ops, choice, strict=True):
        operands = [sizes[t] for t in op.inputs]
        made = option.size_map(operands[0]) if option else max(operands)  # type: ignore[attr-defined]
        if made is None or any(s not in (made, (1, 1)) for s in operands if not option):
            return None
        if op.kind == "Concat" and len(set(operands)) > 1:
            return None
        sizes.append(made)
    return sizes[segment.outputs[0]]


@pytest.mark.slow
def test_many_more_segments() -> None:
    for seed in range(100_000, 101_500):
        check_that_solutions_run(seed)
        check_that_mined_sizes_are_met(seed)
        check_that_solvers_agree(seed, bool(seed % 2))
