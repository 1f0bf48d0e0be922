"""Shape adaptation: what it finds is valid ONNX of the demanded shapes, and nothing is cheaper."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import permutations, product
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_cases import Segment, inception, mobile, random_demand, random_segment, residual

from autogo_onnx import shapes
from autogo_onnx.materialize import random_weights, to_onnx
from autogo_onnx.opgraph import Op, OpGraph, Shape, to_json
from autogo_onnx.shapes import Infeasible, adapt, direct, level_model
from autogo_onnx.shapes.operators import read
from autogo_onnx.shapes.posing import pose
from autogo_onnx.shapes.problem import Problem, Side, Solution, Widths, cost, width_cost
from autogo_onnx.shapes.structure import Freedom, Structure
from autogo_onnx.shapes.windows import Size, Window

seeds = st.integers(0, 100_000)


def run_and_check(graph: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> None:
    """The graph claims the demanded boundary, infers strictly, and runs with all its shapes."""
    assert graph.input_shapes == tuple(inputs)
    assert graph.output_shapes == tuple(outputs)
    everything = OpGraph(
        graph.input_shapes, graph.ops, graph.op_shapes, tuple(range(graph.n_tensors))
    )
    model = to_onnx(everything, random_weights(everything, seed=0))
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {f"x{i}": np.ones(shape, np.float32) for i, shape in enumerate(inputs)}
    results = [result.shape for result in session.run(None, feed)]
    assert results == [graph.shape(t) for t in range(graph.n_tensors)]


def adapted(segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> OpGraph:
    """Adapt, check, return."""
    graph = adapt(segment, inputs, outputs)
    assert isinstance(graph, OpGraph), graph
    run_and_check(graph, inputs, outputs)
    return graph


def strides(graph: OpGraph) -> list[tuple[int, ...]]:
    return [op.get("strides") for op in graph.ops if op.get("strides")]


def widths(graph: OpGraph) -> list[int]:
    return [shape[1] for shape in graph.op_shapes]


def posed(
    segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape], step: int
) -> Problem:
    """The problem with padded windows."""
    problem = try_to_pose(segment, inputs, outputs, step)
    assert problem is not None
    return problem


# --- explicit cases


def test_a_segment_of_the_demanded_shapes_is_returned_as_it_is() -> None:
    mined = inception()
    assert adapt(mined, [(1, 32, 8, 8)], [(1, 64, 8, 8)]) is mined


def test_interior_widths_scale_with_the_boundary() -> None:
    s = Segment((1, 16, 8, 8))
    graph = adapted(s.graph(s.conv(s.conv(0, 16), 16)), [(1, 64, 8, 8)], [(1, 64, 8, 8)])
    assert widths(graph) == [64, 64]


def test_an_image_input_does_not_scale_the_interior() -> None:
    s = Segment((1, 3, 8, 8))
    graph = adapted(s.graph(s.conv(s.conv(0, 16), 16)), [(1, 3, 8, 8)], [(1, 64, 8, 8)])
    assert widths(graph) == [64, 64]


def test_residual_with_projection_takes_stride_and_odd_size() -> None:
    graph = adapted(residual(), [(1, 64, 33, 33)], [(1, 128, 17, 17)])
    assert strides(graph) == [(2, 2), (1, 1), (2, 2)]
    graph = adapted(residual(), [(1, 64, 33, 33)], [(1, 128, 33, 33)])
    assert strides(graph) == [(1, 1), (1, 1), (1, 1)]


def test_channel_concat_is_adapted_in_proportion() -> None:
    graph = adapted(inception(), [(1, 64, 8, 8)], [(1, 96, 8, 8)])
    concat = next(op for op in graph.ops if op.kind == "Concat")
    assert [graph.shape(t)[1] for t in concat.inputs] == [24, 48, 24]
    assert strides(adapted(inception(), [(1, 64, 9, 9)], [(1, 64, 5, 5)]))


def test_spatial_concat_adds_lengths() -> None:
    s = Segment((1, 8, 6, 6))
    graph = s.graph(s.concat(s.conv(0, 8), s.conv(0, 8), axis=2))
    out = adapted(graph, [(1, 16, 8, 8)], [(1, 24, 8, 4)])
    assert strides(out) == [(2, 2), (2, 2)]
    assert isinstance(adapt(graph, [(1, 16, 8, 8)], [(1, 24, 9, 8)]), Infeasible)


def test_depthwise_follows_its_input_width() -> None:
    graph = adapted(mobile(), [(1, 40, 9, 9)], [(1, 48, 5, 5)])
    depthwise = next(i for i, op in enumerate(graph.ops) if op.get("group", 1) > 1)
    width = graph.op_shapes[depthwise][1]
    assert graph.ops[depthwise].get("group") == width == graph.op_shapes[0][1]
    assert strides(graph)[1] == (2, 2), "the 3x3 takes the stride, not a 1x1 that drops samples"


def test_groups_keep_dividing_both_widths() -> None:
    s = Segment((1, 32, 8, 8))
    graph = adapted(s.graph(s.conv(0, 32, group=8)), [(1, 20, 8, 8)], [(1, 36, 8, 8)])
    assert graph.ops[0].get("group") == 4


def test_maps_of_one_by_one() -> None:
    adapted(mobile(size=4), [(1, 16, 1, 1)], [(1, 24, 1, 1)])
    adapted(residual(), [(1, 16, 2, 2)], [(1, 32, 1, 1)])
    adapted(residual(), [(1, 16, 1, 1)], [(1, 32, 1, 1)])


def test_a_gate_mined_on_one_by_one_still_broadcasts() -> None:
    s = Segment((1, 16, 1, 1))
    adapted(s.graph(s.squeeze_excite(0, 8)), [(1, 32, 7, 7)], [(1, 32, 7, 7)])


def test_a_pool_over_the_whole_map_stays_one() -> None:
    s = Segment((1, 16, 7, 7))
    graph = s.graph(s.relu(s.pool(0, 7, 1, kind="AveragePool")))
    assert adapted(graph, [(1, 24, 5, 3)], [(1, 24, 1, 1)]).ops[0].get("kernel_shape") == (5, 3)


def test_floor_and_ceil_as_onnx_has_them() -> None:
    s = Segment((1, 8, 8, 8))
    floor = s.graph(s.pool(0, 2, 2))
    adapted(floor, [(1, 8, 7, 7)], [(1, 8, 3, 3)])
    s = Segment((1, 8, 8, 8))
    ceil = s.graph(s.pool(0, 3, 2, ceil=1))
    assert adapted(ceil, [(1, 8, 10, 10)], [(1, 8, 5, 5)]).ops[0].get("pads") == (0, 0, 0, 0)


def test_a_window_that_starts_in_the_padding_is_no_valid_size() -> None:
    window = Window((1,), (2,), (1,), ((0, 0),), ceil=True)
    assert window.size_after((5,)) == (3,)
    assert window.size_after((4,)) is None  # ONNX says 3 before opset 22, ONNX Runtime 2
    assert Window((3,), (1,), (2,), ((0, 0),)).size_after((4,)) is None
    assert Window((3,), (1,), (2,), ((2, 2),)).size_after((4,)) == (4,)


def test_unpadded_windows_are_the_last_resort() -> None:
    s = Segment((1, 8, 8, 8))
    graph = adapted(s.graph(s.relu(s.conv(0, 8))), [(1, 8, 8, 8)], [(1, 8, 6, 6)])
    assert graph.ops[0].get("pads") == (0, 0, 0, 0)


def test_one_axis_may_shrink_alone() -> None:
    s = Segment((1, 8, 8, 32))
    graph = adapted(s.graph(s.relu(s.conv(0, 8))), [(1, 8, 8, 32)], [(1, 16, 4, 32)])
    assert strides(graph) == [(2, 1)]


def test_two_inputs_and_two_outputs_find_their_places() -> None:
    s = Segment((1, 16, 8, 8), (1, 32, 4, 4))
    low = s.relu(s.join("Add", s.conv(0, 32, 3, 2), 1))
    segment = s.graph(low, s.conv(0, 8, 1))
    inputs, outputs = [(1, 64, 5, 5), (1, 24, 10, 10)], [(1, 16, 10, 10), (1, 64, 5, 5)]
    graph = adapted(segment, inputs, outputs)
    assert graph.ops[0].inputs == (1,), "the mined first input serves the demanded second"
    assert graph.outputs[0] > graph.outputs[1]


def test_transposed_convolution_and_pixel_shuffle() -> None:
    s = Segment((1, 16, 4, 4))
    up = Op.make("ConvTranspose", (0,), kernel_shape=(2, 2), strides=(2, 2), pads=(0,) * 4)
    wide = s.conv(s.add(up, (1, 16, 8, 8)), 64)
    graph = s.graph(s.add(Op.make("DepthToSpace", (wide,), blocksize=2), (1, 16, 16, 16)))
    out = adapted(graph, [(1, 24, 5, 7)], [(1, 12, 20, 28)])
    assert widths(out)[1:] == [48, 12]


def test_a_classifier_head() -> None:
    s = Segment((1, 16, 4, 4))
    pooled = s.add(Op.make("GlobalAveragePool", (0,)), (1, 16, 1, 1))
    flat = s.add(Op.make("Flatten", (pooled,), axis=1), (1, 16))
    graph = s.graph(s.add(Op.make("Gemm", (flat,)), (1, 10)))
    assert widths(adapted(graph, [(1, 40, 7, 7)], [(1, 100)])) == [40, 40, 100]


# --- refusals


def reason(segment: OpGraph, inputs: list[Shape], outputs: list[Shape]) -> str:
    result = adapt(segment, inputs, outputs)
    assert isinstance(result, Infeasible)
    return result.reason


def test_refusals_name_what_conflicts() -> None:
    s = Segment((1, 16, 8, 8))
    kept = s.graph(s.relu(s.pool(0)))
    assert reason(kept, [(1, 16, 8, 8)], [(1, 32, 4, 4)]) == (
        "input 0: nothing in between changes 16 channels to 32"
    )
    assert reason(kept, [(1, 16, 8, 8)], [(1, 16, 1, 1)]) == (
        "output 0 can be 4x4 or 7x7 or 8x8 but must be 1x1"
    )
    s = Segment((1, 16, 8, 8))
    dense = s.graph(s.concat(0, s.conv(0, 16)))
    assert reason(dense, [(1, 64, 8, 8)], [(1, 64, 8, 8)]) == (
        "Concat (operator 1): Conv (operator 0) would need 0 channels"
    )
    assert reason(dense, [(1, 64, 8, 8)], [(1, 100, 8, 8)]) == (
        "Concat (operator 1): Conv (operator 0) would need 36 channels"
    )
    assert "cannot serve 2 and 1" in reason(dense, [(1, 64, 8, 8)] * 2, [(1, 100, 8, 8)])
    assert "batch" in reason(dense, [(1, 64, 8, 8)], [(2, 100, 8, 8)])


def test_an_unknown_operator_is_named() -> None:
    s = Segment((1, 16, 8, 8))
    assert reason(s.graph(s.unary("LSTM", 0)), [(1, 8, 8, 8)], [(1, 8, 8, 8)]).startswith(
        "LSTM (operator 0)"
    )


# --- properties


@settings(max_examples=150)
@given(seeds)
def test_solutions_run_with_exactly_the_demanded_shapes(seed: int) -> None:
    segment = random_segment(seed)
    inputs, outputs = random_demand(segment, seed)
    graph = adapt(segment, inputs, outputs)
    if isinstance(graph, OpGraph):
        run_and_check(graph, inputs, outputs)
        _check_lattice(segment, graph, 8)
    else:
        assert graph.reason


def _check_lattice(segment: OpGraph, graph: OpGraph, step: int) -> None:
    """Freely chosen widths are multiples of the step or a boundary's, or forced by arithmetic."""
    boundary = {shape[1] for shape in (*graph.input_shapes, *graph.output_shapes)}
    for op, mined, shape in zip(graph.ops, segment.op_shapes, graph.op_shapes, strict=True):
        if op.kind == "Conv" and op.get("group") == 1 and mined[1] > 1:
            assert shape[1] % step == 0 or shape[1] in boundary


@settings(max_examples=150)
@given(seeds)
def test_both_solvers_find_the_same_answer(seed: int) -> None:
    segment = random_segment(seed)
    problem = try_to_pose(segment, *random_demand(segment, seed), step=8)
    if problem is None:
        return
    first, second = direct.solve(problem), level_model.solve(problem, 10.0)
    if isinstance(first, Solution):
        assert isinstance(second, Solution)
        assert cost(problem, first) == cost(problem, second)
        assert first == second
    elif isinstance(first, Infeasible):
        assert isinstance(second, Infeasible)


def try_to_pose(
    segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape], step: int
) -> Problem | None:
    found = read(segment, Freedom(step))
    assert isinstance(found, Structure)
    problem = pose(found, inputs, outputs)
    return None if isinstance(problem, Infeasible) else problem


@settings(max_examples=120)
@given(seeds)
def test_brute_force_agrees_on_the_objective(seed: int) -> None:
    segment = random_segment(seed, most=4)
    problem = try_to_pose(segment, *random_demand(segment, seed), step=16)
    if problem is None:
        return
    solution = shapes.solve(problem, 10.0)
    expected = min(brute_force(problem), default=None)
    if isinstance(solution, Solution):
        assert cost(problem, solution) == expected
    else:
        assert expected is None


def brute_force(problem: Problem) -> Iterator[int]:
    """Costs of all solutions: every assignment, every size per class, every width per class."""
    for inputs, outputs in product(assignments(problem.inputs), assignments(problem.outputs)):
        known_sizes: dict[int, set[Size]] = {}
        known_widths: dict[int, set[int]] = {n: {w} for n, w in problem.widths.fixed.items()}
        for side, assignment in ((problem.inputs, inputs), (problem.outputs, outputs)):
            for port, number in zip(side.ports, assignment, strict=True):
                known_sizes.setdefault(port.size, set()).add(side.demands[number].size)
                known_widths.setdefault(port.width, set()).add(side.demands[number].width)
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
    """Chosen classes take every multiple up to 320 and every boundary width; others follow."""
    part = problem.widths
    free = [n for n, chosen in enumerate(part.chosen) if chosen and n not in known]
    values = sorted({*range(part.step, 321, part.step), *part.also})
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
    solution = problem if isinstance(problem, Infeasible) else shapes.solve(problem, 10.0)
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


# --- solver manners


def hard_case() -> tuple[OpGraph, list[Shape], list[Shape]]:
    """Four free branches under one concatenation: needs the solver."""
    s = Segment((1, 32, 8, 8))
    branches = [s.conv(0, width, 3) for width in (8, 24, 40, 16)]
    return s.graph(s.concat(*branches)), [(1, 48, 8, 8)], [(1, 120, 4, 4)]


def test_the_hard_case_needs_the_solver_and_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    segment, inputs, outputs = hard_case()
    assert direct.solve(posed(segment, inputs, outputs, 8)) is None
    graph = adapted(segment, inputs, outputs)
    assert widths(graph) == [8, 32, 56, 24, 120]
    segment, inputs, outputs = hard_case()
    assert "Concat (operator 4)" in reason(segment, inputs, [(1, 20, 4, 4)])
    assert capfd.readouterr() == ("", "")


PRINT_ANSWERS = """
import sys
sys.path.insert(0, {tests!r})
from segment_cases import random_demand, random_segment
from test_shapes import hard_case
from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.shapes import adapt
cases = [(g, *random_demand(g, s)) for s in range(60) for g in [random_segment(s)]]
for case in [hard_case(), *cases]:
    answer = adapt(*case)
    print(to_json(answer) if isinstance(answer, OpGraph) else answer.reason)
"""


def test_the_answer_is_the_same_in_every_process() -> None:
    root = Path(__file__).parents[1]
    script = PRINT_ANSWERS.format(tests=str(root / "tests"))
    answers = set()
    for hash_seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
        answers.add(done.stdout)
    assert len(answers) == 1
    assert answers.pop().count("\n") == 61


def test_adapting_does_not_change_the_mined_segment() -> None:
    segment, inputs, outputs = hard_case()
    before = to_json(segment)
    adapt(segment, inputs, outputs)
    assert to_json(segment) == before
