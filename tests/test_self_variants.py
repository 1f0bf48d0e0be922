"""Self variants of any segment: valid ONNX, the same boundary, cheaper, each once, in turns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_cases import Segment, inception, mobile, random_segment, residual

from autogo_onnx import variants as package
from autogo_onnx.cost import macs
from autogo_onnx.materialize import to_onnx
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.runtime import open_session
from autogo_onnx.segment_db.store import open_store
from autogo_onnx.shapes import Infeasible
from autogo_onnx.shapes.interior import Interior, interior
from autogo_onnx.variants import WORTHWHILE, Variant, chain, conv, self_variants, variants
from autogo_onnx.variants.surgery import living
from autogo_onnx.weights import random_weights

MOST_PER_OPERAND, MOST_CLOSED = 25, 75


def assert_valid(graph: OpGraph) -> None:
    """ONNX infers every tensor as the graph says, and ONNX Runtime computes it so."""
    whole = OpGraph(graph.input_shapes, graph.ops, graph.op_shapes, tuple(range(graph.n_tensors)))
    model = to_onnx(whole, random_weights(whole, seed=0))
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    feeds = {f"x{i}": np.ones(shape, np.float32) for i, shape in enumerate(graph.input_shapes)}
    made = open_session(model).run(None, feeds)
    assert [array.shape for array in made] == [graph.shape(t) for t in range(graph.n_tensors)]


def sound(segment: OpGraph, at_most: float = 1.0) -> list[Variant]:
    """All variants of a segment, checked but for running them."""
    found = list(self_variants(segment, at_most))
    assert len({v.graph for v in found} | {segment}) == len(found) + 1
    for variant in found:
        graph = variant.graph
        assert graph.input_shapes == segment.input_shapes
        assert graph.output_shapes == segment.output_shapes
        assert variant.macs == macs(graph) <= at_most * macs(segment)
        assert variant.macs < macs(segment) or len(graph.ops) < len(segment.ops)
        assert graph == living(graph)
        assert all(graph.readers()[t] for t in range(graph.n_inputs) if segment.readers()[t])
    return found


def named(segment: OpGraph, name: str) -> list[OpGraph]:
    """Variants of one idea, sound and valid."""
    graphs = [v.graph for v in sound(segment) if v.name == name]
    for graph in graphs:
        assert_valid(graph)
    return graphs


def widths(graph: OpGraph) -> list[int]:
    return [shape[1] for shape in graph.op_shapes]


def kinds(graph: OpGraph) -> list[str]:
    return [op.kind for op in graph.ops]


# --- any segment


@settings(max_examples=40)
@given(st.integers(0, 100_000))
def test_variants_of_any_segment_are_sound_and_run(seed: int) -> None:
    segment = random_segment(seed)
    found = sound(segment)
    operands = sum(len(op.inputs) for op in segment.ops)
    assert len(found) <= MOST_CLOSED + MOST_PER_OPERAND * operands
    for variant in found[seed % 7 :: 7]:
        assert_valid(variant.graph)


@settings(max_examples=40)
@given(st.integers(0, 100_000))
def test_a_limit_only_leaves_out(seed: int) -> None:
    segment = random_segment(seed)
    everything = list(self_variants(segment))
    limit = 0.5 * macs(segment)
    assert sound(segment, 0.5) == [v for v in everything if v.macs <= limit]


@pytest.mark.parametrize(("every", "run"), [(300, 20), pytest.param(1, 12, marks=pytest.mark.slow)])
def test_variants_of_shipped_segments_are_sound_and_run(every: int, run: int) -> None:
    segments = [stored.graph for stored in open_store().everything()][::every]
    for number, segment in enumerate(segments):
        for variant in sound(segment)[number % run :: run]:
            assert_valid(variant.graph)


@pytest.mark.parametrize("segment", [residual(), inception(), mobile()])
def test_the_same_call_gives_the_same_variants(segment: OpGraph) -> None:
    assert sound(segment) == sound(segment)


def test_closed_forms_are_among_them() -> None:
    same = (1, 1, 1, 1)
    single = chain((1, 32, 8, 8), [(conv((3, 3), pads=same), 32)])
    steps = [(conv((3, 3), pads=same), 32), (Op("Relu", (0,)), 32), (conv((1, 1)), 16)]
    for segment in (single, chain((1, 16, 8, 8), steps)):
        closed = variants(segment)
        assert closed
        assert sound(segment, WORTHWHILE)[: len(closed)] == list(closed)


def test_ideas_take_turns_and_are_asked_for_no_more_than_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def endless(segment: OpGraph) -> Iterator[OpGraph]:
        for width in count(1):
            asked.append(width)
            yield chain((1, 8, 4, 4), [(conv((1, 1)), width), (conv((1, 1)), 1)])

    def single(segment: OpGraph) -> Iterator[OpGraph]:
        yield chain((1, 8, 4, 4), [(conv((1, 1)), 1)])

    segment = chain((1, 8, 4, 4), [(conv((3, 3), pads=(1,) * 4), 64), (conv((1, 1)), 1)])
    monkeypatch.setattr(package, "IDEAS", (("endless", endless), ("single", single)))
    found = [v.name for v in islice(self_variants(segment), 4)]
    assert found == ["endless", "single", "endless", "endless"]
    assert asked == [1, 2, 3]


def test_nothing_is_cheaper_than_a_pool() -> None:
    s = Segment((1, 16, 8, 8))
    assert sound(s.graph(s.pool(0))) == []


def test_operators_that_are_not_known_stay_as_they_are() -> None:
    """The widths cannot be reasoned about, but a convolution beside them can be changed."""
    s = Segment((1, 16, 8, 8))
    found = sound(s.graph(s.unary("Unheard", s.conv(0, 32))))
    assert found
    assert "narrower" not in {v.name for v in found}
    assert all(v.graph.ops[-1].kind == "Unheard" for v in found)


def test_unknown_shapes_are_left_alone() -> None:
    """A part behind an operator of an unknown domain: nothing there can be told apart."""
    s = Segment((1, 16, 8, 8))
    custom = s.add(Op("custom::Op", (s.conv(0, 16, 1),)), ())
    added = s.add(Op("Add", (custom, s.add(Op("Relu", (custom,)), ()))), ())
    segment = s.graph(s.add(Op("Conv", (added,), conv((3, 3)).attributes), ()))
    found = sound(segment)
    assert [v.name for v in found] == ["grouped"]
    assert kinds(found[0].graph) == kinds(segment)


# --- narrower inside


@given(st.integers(0, 100_000))
def test_an_interior_without_wishes_is_the_segment_itself(seed: int) -> None:
    segment = random_segment(seed)
    inner = interior(segment)
    assert isinstance(inner, Interior)
    assert inner.fixed({}) == inner.wished({}) == segment
    for number, mined in inner.free.items():
        assert inner.fixed({number: mined}) == segment


def test_widths_off_the_lattice_stay_where_they_are() -> None:
    s = Segment((1, 16, 8, 8))
    segment = s.graph(s.conv(s.relu(s.conv(s.relu(s.conv(0, 20)), 36)), 16))
    inner = interior(segment)
    assert isinstance(inner, Interior)
    assert sorted(inner.free.values()) == [20, 36]
    graph = inner.fixed({min(inner.free): 8})
    assert isinstance(graph, OpGraph)
    assert widths(graph)[::2] == [8, 36, 16]


def test_shapes_that_cannot_be_reasoned_about_have_a_reason() -> None:
    s = Segment((1, 16, 8, 8))
    unheard = interior(s.graph(s.unary("Unheard", 0)))
    assert isinstance(unheard, Infeasible)
    assert "Unheard (operator 0)" in unheard.reason
    for shapes in (((1, 8), (1, 8)), ((1, 8), (2, 8)), ((1, 8), ()), ((1, 8), (1, 0))):
        graph = OpGraph(shapes[:1], (Op("Relu", (0,)),), shapes[1:], (1,))
        assert isinstance(interior(graph), Interior if shapes[1] == (1, 8) else Infeasible)


def test_narrower_together_first_and_then_one_by_one() -> None:
    s = Segment((1, 16, 8, 8))
    t = s.conv(s.relu(s.conv(s.relu(s.conv(0, 32)), 64)), 16)
    found = [widths(g)[::2] for g in named(s.graph(t), "narrower")]
    assert found == [
        [24, 48, 16], [16, 32, 16], [8, 16, 16],
        [24, 64, 16], [16, 64, 16], [8, 64, 16],
        [32, 48, 16], [32, 32, 16], [32, 16, 16],
    ]  # fmt: skip


def test_what_a_residual_block_adds_up_is_not_free() -> None:
    s = Segment((1, 16, 8, 8))
    t = s.relu(s.join("Add", s.conv(s.relu(s.conv(0, 16)), 16), 0))
    assert [widths(g)[0] for g in named(s.graph(t), "narrower")] == [8]


def test_depthwise_and_gate_follow_the_narrower_expansion() -> None:
    for graph in named(mobile(), "narrower"):
        depthwise = next(i for i, op in enumerate(graph.ops) if op.get("group", 1) > 1)
        gate = graph.ops.index(next(op for op in graph.ops if op.kind == "Mul"))
        assert graph.ops[depthwise].get("group") == widths(graph)[0]
        assert widths(graph)[depthwise] == widths(graph)[gate] == widths(graph)[0]


def test_a_branch_of_a_concatenation_is_made_up_for_by_the_others() -> None:
    """The boundary fixes the sum: the 3x3 branch loses what the cheap ones gain."""
    graphs = named(inception(), "narrower")
    concats = [next(op for op in g.ops if op.kind == "Concat") for g in graphs]
    divided = {
        tuple(g.shape(t)[1] for t in op.inputs) for g, op in zip(graphs, concats, strict=True)
    }
    assert all(sum(parts) == 64 for parts in divided)
    assert any(parts[1] < 32 for parts in divided)


# --- dropped branches


def test_a_residual_block_loses_its_shortcut_or_its_long_branch() -> None:
    found = named(residual(), "dropped_branch")
    assert [kinds(g) for g in found] == [["Conv", "Relu"], ["Conv", "Relu", "Conv", "Relu"]]


def test_an_identity_shortcut_saves_an_operator_only() -> None:
    s = Segment((1, 16, 8, 8))
    segment = s.graph(s.join("Add", s.conv(0, 16), 0))
    found = [v for v in sound(segment) if v.name == "dropped_branch"]
    assert [(kinds(v.graph), v.macs) for v in found] == [(["Conv"], macs(segment))]


def test_inputs_stay_read_and_outputs_stay_two() -> None:
    s = Segment((1, 16, 8, 8), (1, 16, 8, 8))
    left = s.conv(0, 16)
    segment = s.graph(left, s.join("Add", left, s.conv(1, 16)))
    [graph] = named(segment, "dropped_branch")
    assert kinds(graph) == ["Conv", "Conv"], "the sum may be the second convolution, not the first"
    s = Segment((1, 16, 8, 8), (1, 16, 8, 8))
    assert named(s.graph(s.join("Add", s.conv(0, 16), 1)), "dropped_branch") == []


def test_a_sum_of_three_loses_one_at_a_time() -> None:
    s = Segment((1, 16, 8, 8))
    segment = s.graph(s.join("Sum", s.conv(0, 16, 1), s.conv(0, 16), s.relu(0)))
    found = [kinds(g) for g in named(segment, "dropped_branch")]
    assert found == [["Conv", "Relu", "Sum"], ["Conv", "Relu", "Sum"], ["Conv", "Conv", "Sum"]]


def test_a_gate_is_dropped_with_its_convolutions_but_a_swish_is_kept() -> None:
    [graph] = named(mobile(), "dropped_branch")
    assert kinds(graph) == ["Conv", "Relu", "Conv", "Relu", "Conv"]
    s = Segment((1, 16, 8, 8))
    t = s.conv(0, 16)
    assert named(s.graph(s.join("Mul", t, s.unary("Sigmoid", t))), "dropped_branch") == []


def test_branches_widen_when_another_is_dropped() -> None:
    """Without its 3x3 branch; without another the 3x3 one would widen, which costs more."""
    [graph] = named(inception(), "dropped_branch")
    assert kinds(graph) == ["MaxPool", "Conv", "Conv", "Concat", "Relu"]
    assert sum(graph.shape(t)[1] for t in graph.ops[3].inputs) == 64


def test_a_concatenation_of_one_branch_is_no_concatenation() -> None:
    s = Segment((1, 16, 8, 8))
    inner = s.concat(s.conv(0, 16), s.depthwise(s.conv(0, 8)))
    found = named(s.graph(s.conv(s.depthwise(inner), 16, 1)), "dropped_branch")
    assert [kinds(g) for g in found] == [["Conv"] * 4, ["Conv"] * 3]
    assert [op.get("group") for op in found[0].ops] == [1, 8, 8, 1]


# --- forms of one operator


def test_every_convolution_takes_the_forms_that_a_single_one_has() -> None:
    s = Segment((1, 32, 8, 8), (1, 32, 8, 8))
    segment = s.graph(s.join("Add", s.conv(0, 32), s.conv(1, 32)))
    found = {v.name for v in sound(segment)}
    assert found == {
        "smaller_kernel", "low_rank", "depthwise_separable", "grouped", "separable",
    }  # fmt: skip
    both, first, last = named(segment, "smaller_kernel")
    kernels = [[op.get("kernel_shape")[0] for op in g.ops[:2]] for g in (both, first, last)]
    assert kernels == [[1, 1], [1, 3], [3, 1]]


def test_two_convolutions_inside_become_one() -> None:
    s = Segment((1, 16, 8, 8))
    long = s.conv(s.relu(s.conv(0, 32, 3, 2)), 16)
    segment = s.graph(s.relu(s.join("Add", long, s.conv(0, 16, 1, 2))))
    [graph] = named(segment, "linearized")
    assert kinds(graph) == ["Conv", "Conv", "Add", "Relu"]
    assert graph.ops[0].get("strides") == (2, 2)


def test_a_middle_that_is_read_elsewhere_stays() -> None:
    s = Segment((1, 16, 8, 8))
    middle = s.relu(s.conv(0, 16))
    assert named(s.graph(s.join("Add", s.conv(middle, 16), middle)), "linearized") == []


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_convolutions(stride: int) -> None:
    kernel = conv((4, 4), (stride, stride), (1, 1, 1, 1))
    up = Op("ConvTranspose", (0,), kernel.attributes)
    segment = chain((1, 32, 5, 7), [(up, 16), (Op("Relu", (0,)), 16)])
    found = sound(segment)
    for variant in found:
        assert_valid(variant.graph)
    assert {v.name for v in found} == {
        "smaller_kernel", "low_rank", "depthwise_separable", "grouped",
    }  # fmt: skip
    smaller = [v.graph.ops[0] for v in found if v.name == "smaller_kernel"]
    assert [op.get("kernel_shape") for op in smaller] == [(2, 2)]


def test_attributes_that_are_not_said_have_their_defaults() -> None:
    up = Op.make("ConvTranspose", (0,), kernel_shape=(2, 2), strides=(2, 2))
    segment = OpGraph(((1, 16, 4, 4),), (up,), ((1, 16, 8, 8),), (1,))
    assert named(segment, "depthwise_separable")


@pytest.mark.parametrize("rank", [1, 3])
def test_one_and_three_dimensional_convolutions(rank: int) -> None:
    ones = (1,) * rank
    wide = conv((5,) * rank, ones, (2,) * 2 * rank, ones)
    segment = chain((1, 32, *(6,) * rank), [(wide, 32), (Op("Relu", (0,)), 32), (wide, 32)])
    found = sound(segment)
    for variant in found[::3]:
        assert_valid(variant.graph)
    assert {v.name for v in found} == {
        "narrower", "smaller_kernel", "low_rank", "depthwise_separable", "grouped",
    }  # fmt: skip


def test_matrix_products_lose_rank() -> None:
    gemm = Op("Gemm", (0,))
    head = chain((1, 64), [(gemm, 32), (Op("Relu", (0,)), 32), (gemm, 20)])
    found = [widths(g) for g in named(head, "low_rank")]
    assert found == [[16, 32, 32, 20], [8, 32, 32, 8, 20], [8, 32, 32, 20], [32, 32, 8, 20]]
    tokens = chain((1, 7, 64), [(Op("MatMul", (0,)), 64)])
    assert [g.op_shapes[0] for g in named(tokens, "low_rank")] == [(1, 7, 16)]
