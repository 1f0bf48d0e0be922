"""Shape adaptation of whole segments: what it finds is valid ONNX of the demanded shapes."""

from __future__ import annotations

from segment_cases import Segment, hard_case, inception, mobile, residual
from shape_checks import adapted, strides, widths

from autogo_onnx.opgraph import Op, OpGraph, to_json
from autogo_onnx.shapes import Infeasible, adapt
from autogo_onnx.shapes.windows import Window


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


def test_adapting_does_not_change_the_mined_segment() -> None:
    segment, inputs, outputs = hard_case()
    before = to_json(segment)
    adapt(segment, inputs, outputs)
    assert to_json(segment) == before


def test_the_lattice_yields_where_nothing_on_it_fits() -> None:
    s = Segment((1, 32, 8, 8))
    graph = s.graph(s.concat(s.conv(0, 8), s.conv(0, 8), s.conv(0, 16)))
    out = adapted(graph, [(1, 32, 8, 8)], [(1, 34, 8, 8)])
    off = [width for width in widths(out)[:3] if width % 8]
    assert len(off) == 1, "as few as possible"
    assert sum(widths(out)[:3]) == 34


def test_a_lattice_of_one_or_sixteen() -> None:
    s = Segment((1, 16, 8, 8))
    graph = s.graph(s.conv(s.conv(0, 24), 16))
    for step, inner in ((1, 36), (8, 32), (16, 32)):
        out = adapt(graph, [(1, 24, 8, 8)], [(1, 24, 8, 8)], multiple_of=step)
        assert isinstance(out, OpGraph)
        assert widths(out)[0] == inner


def test_many_outputs_find_their_places() -> None:
    s = Segment((1, 32, 8, 8))
    outputs = [s.conv(0, 8 * (n + 1), 1) for n in range(7)]
    demands = [(1, 16 * (n + 1), 8, 8) for n in range(7)]
    order = [3, 0, 6, 2, 5, 1, 4]
    graph = adapted(s.graph(*outputs), [(1, 32, 8, 8)], [demands[n] for n in order])
    assert [graph.producer(t) for t in graph.outputs] == order


def test_many_equal_outputs_stay_in_order() -> None:
    s = Segment((1, 32, 8, 8))
    outputs = [s.conv(0, 16, 1) for _ in range(9)]
    graph = adapted(s.graph(*outputs), [(1, 32, 4, 4)], [(1, 24, 4, 4)] * 9)
    assert [graph.producer(t) for t in graph.outputs] == list(range(9))
