"""Shape adaptation, operator by operator: what each one makes of sizes and channels."""

from __future__ import annotations

from typing import Any

import pytest
from segment_cases import Segment
from shape_checks import adapted, reason, strides, widths

from autogo_onnx.opgraph import AttributeValue, Op, OpGraph, Shape
from autogo_onnx.shapes import adapt
from autogo_onnx.shapes.windows import Window


def attribute(graph: Any, kind: str, name: str) -> list[object]:
    return [op.get(name) for op in graph.ops if op.kind == kind]


# --- groups


def test_a_grouped_convolution_keeps_its_groups_by_choosing_widths() -> None:
    s = Segment((1, 64, 8, 8))
    wide = s.conv(s.conv(0, 64, 1), 64, group=32)
    graph = adapted(s.graph(s.conv(wide, 64, 1)), [(1, 72, 8, 8)], [(1, 72, 8, 8)])
    assert attribute(graph, "Conv", "group") == [1, 32, 1]
    assert widths(graph)[:2] == [64, 64], "a multiple of 32 rather than 72 with 8 groups"


def test_groups_give_way_where_the_boundary_sets_both_widths() -> None:
    s = Segment((1, 32, 8, 8))
    graph = adapted(s.graph(s.conv(0, 32, group=8)), [(1, 20, 8, 8)], [(1, 36, 8, 8)])
    assert graph.ops[0].get("group") == 4


def test_a_chain_of_grouped_convolutions_agrees() -> None:
    s = Segment((1, 16, 8, 8))
    inner = s.conv(s.conv(s.conv(0, 48, 1), 32, group=16), 24, group=8)
    graph = adapted(s.graph(s.conv(inner, 16, 1)), [(1, 40, 8, 8)], [(1, 40, 8, 8)])
    for op, shape in zip(graph.ops, graph.op_shapes, strict=True):
        assert shape[1] % op.get("group") == 0
    assert attribute(graph, "Conv", "group") == [1, 16, 8, 1]


# --- transposed convolutions and resizes


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ((14, 14), {"strides": (2, 2), "output_padding": None}),
        ((13, 14), {"strides": (2, 2)}),
        ((7, 7), {"strides": (1, 1)}),
        ((28, 28), {}),
    ],
)
def test_a_transposed_convolution_chooses_stride_and_output_padding(
    made: Shape, said: dict[str, object]
) -> None:
    s = Segment((1, 16, 4, 4))
    up = s.put(
        "ConvTranspose", 0, (1, 16, 8, 8), kernel_shape=(4, 4), strides=(2, 2), pads=(1,) * 4
    )
    graph = s.graph(s.conv(up, 16))
    if made == (28, 28):
        assert "can be" in reason(graph, [(1, 24, 7, 7)], [(1, 8, *made)])
        return
    out = adapted(graph, [(1, 24, 7, 7)], [(1, 8, *made)])
    assert all(out.ops[0].get(name) == value for name, value in said.items())


def test_a_mined_output_padding_stays() -> None:
    s = Segment((1, 16, 4, 4))
    up = s.put(
        "ConvTranspose", 0, (1, 8, 8, 8),
        kernel_shape=(3, 3), strides=(2, 2), pads=(1,) * 4, output_padding=(1, 1),
    )  # fmt: skip
    graph = adapted(s.graph(up), [(1, 24, 5, 6)], [(1, 8, 10, 12)])
    assert graph.ops[0].get("output_padding") == (1, 1)
    odd = adapted(s.graph(up), [(1, 24, 5, 6)], [(1, 8, 9, 12)])
    assert odd.ops[0].get("output_padding") == (0, 1)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_a_resize_takes_another_whole_factor(factor: int) -> None:
    s = Segment((1, 16, 4, 4))
    up = s.put("Resize", 0, (1, 16, 8, 8), mode="nearest")
    mined = s.graph(s.conv(up, 8))
    graph = adapted(mined, [(1, 24, 6, 5)], [(1, 8, 6 * factor, 5 * factor)])
    assert graph.op_shapes[0][2:] == (6 * factor, 5 * factor)
    down = adapted(mined, [(1, 24, 12, 24)], [(1, 8, 12 // factor, 24 // factor)])
    assert strides(down) == [(1, 1)], "the resize shrinks, not the convolution"


# --- moving axes


def test_a_channel_shuffle_keeps_its_groups() -> None:
    s = Segment((1, 32, 8, 8))
    graph = s.graph(s.conv(s.shuffle(s.conv(0, 32, 1), 4), 32))
    out = adapted(graph, [(1, 24, 9, 9)], [(1, 40, 5, 5)])
    assert out.op_shapes[1] == (1, 4, 8, *out.op_shapes[0][2:])
    assert out.op_shapes[2] == (1, 8, 4, *out.op_shapes[0][2:])


def test_a_channel_shuffle_takes_fewer_groups_rather_than_none() -> None:
    s = Segment((1, 32, 8, 8))
    mined = s.graph(s.relu(s.shuffle(0, 4)))
    out = adapted(mined, [(1, 18, 6, 6)], [(1, 18, 6, 6)])
    assert out.op_shapes[0] == (1, 2, 9, 6, 6)
    told = reason(mined, [(1, 18, 6, 6)], [(1, 20, 6, 6)])
    assert "input 0 has 18 channels, output 0 of Relu (operator 3) has 20 channels" in told


def test_shuffles_after_grouped_convolutions() -> None:
    s = Segment((1, 32, 8, 8))
    inner = s.conv(s.shuffle(s.conv(0, 32, 1, group=4), 4), 32, 1, group=4)
    out = adapted(s.graph(inner), [(1, 48, 8, 8)], [(1, 48, 8, 8)])
    assert attribute(out, "Conv", "group") == [4, 4]


def test_maps_become_tokens_and_back() -> None:
    s = Segment((1, 16, 4, 4))
    flat = s.put("Reshape", 0, (1, 16, 16))
    tokens = s.put("Transpose", flat, (1, 16, 16), perm=(0, 2, 1))
    wide = s.put("MatMul", tokens, (1, 16, 64))
    narrow = s.put("MatMul", s.relu(wide), (1, 16, 32))
    back = s.put("Transpose", narrow, (1, 32, 16), perm=(0, 2, 1))
    graph = s.graph(s.conv(s.put("Reshape", back, (1, 32, 4, 4)), 8))
    out = adapted(graph, [(1, 24, 6, 6)], [(1, 16, 3, 3)])
    assert out.op_shapes[2][1] == 36
    assert out.op_shapes[2][2] % 8 == 0
    assert strides(out) == [(2, 2)]
    oblong = adapted(graph, [(1, 24, 6, 8)], [(1, 16, 12, 4)])
    assert oblong.op_shapes[-2][2:] == (12, 4), "48 tokens as 12 rows of 4, as mined"


def test_a_layer_of_tokens() -> None:
    s = Segment((1, 50, 64))
    mean = s.put("ReduceMean", 0, (1, 50, 1), axes=(2,), keepdims=1)
    centred = s.add(Op.make("Sub", (0, mean)), (1, 50, 64))
    wide = s.put("MatMul", centred, (1, 50, 256))
    out = s.join("Add", 0, s.put("MatMul", s.unary("Tanh", wide), (1, 50, 64)))
    graph = adapted(s.graph(out), [(1, 17, 96)], [(1, 17, 96)])
    assert graph.op_shapes[2] == (1, 17, 384)
    assert "nothing changes channels" in reason(s.graph(out), [(1, 17, 96)], [(1, 17, 192)])


def attention() -> Segment:
    """Queries, keys and values of 4 heads, their product and its projection."""
    s = Segment((1, 50, 64))
    heads = []
    for perm in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)):
        split = s.put("Reshape", s.put("MatMul", 0, (1, 50, 64)), (1, 50, 4, 16))
        shape = tuple((1, 50, 4, 16)[axis] for axis in perm)
        heads.append(s.put("Transpose", split, shape, perm=perm))
    scores = s.add(Op.make("MatMul", heads[:2]), (1, 4, 50, 50))
    weights = s.put("Softmax", scores, (1, 4, 50, 50), axis=3)
    mixed = s.add(Op.make("MatMul", (weights, heads[2])), (1, 4, 50, 16))
    turned = s.put("Transpose", mixed, (1, 50, 4, 16), perm=(0, 2, 1, 3))
    s.put("MatMul", s.put("Reshape", turned, (1, 50, 64)), (1, 50, 64))
    return s


def test_an_attention_takes_other_tokens_and_channels() -> None:
    s = attention()
    graph = adapted(s.graph(len(s.shapes) - 1), [(1, 17, 96)], [(1, 17, 40)])
    scores = next(i for i, op in enumerate(graph.ops) if op.kind == "Softmax")
    assert graph.op_shapes[scores] == (1, 4, 17, 17), "as many heads, other lengths"
    assert graph.op_shapes[0][2] % 4 == 0


def test_scores_may_be_a_boundary() -> None:
    s = attention()
    scores = next(i for i, op in enumerate(s.ops) if op.kind == "Softmax")
    graph = s.graph(1 + scores, len(s.shapes) - 1)
    out = adapted(graph, [(1, 17, 96)], [(1, 4, 17, 17), (1, 17, 96)])
    assert out.op_shapes[scores] == (1, 4, 17, 17)
    assert "3x17x17" in reason(graph, [(1, 17, 96)], [(1, 3, 17, 17), (1, 17, 96)])


def test_squeeze_and_unsqueeze_follow_the_rank() -> None:
    s = Segment((1, 16, 4, 4))
    pooled = s.put("GlobalAveragePool", 0, (1, 16, 1, 1))
    flat = s.put("Squeeze", pooled, (1, 16), axes=(2, 3))
    gate = s.put("Unsqueeze", s.put("Gemm", flat, (1, 16)), (1, 16, 1, 1), axes=(2, 3))
    graph = adapted(s.graph(s.join("Mul", 0, gate)), [(1, 24, 7, 5)], [(1, 24, 7, 5)])
    assert widths(graph) == [24] * 5


def test_a_flatten_of_a_map_picks_the_size_that_is_cheapest() -> None:
    s = Segment((1, 8, 8, 8))
    flat = s.put("Flatten", s.pool(s.conv(0, 16), 2, 2), (1, 256), axis=1)
    graph = adapted(s.graph(s.put("Gemm", flat, (1, 10))), [(1, 8, 16, 16)], [(1, 100)])
    assert strides(graph) == [(1, 1), (2, 2)], "nothing asks for another stride"
    assert graph.op_shapes[2] == (1, graph.op_shapes[1][1] * 64)
    short = s.graph(flat)
    assert adapted(short, [(1, 8, 16, 16)], [(1, 128)]).op_shapes[1] == (1, 8, 4, 4)


# --- parts


def test_halves_of_the_channels_stay_halves() -> None:
    s = Segment((1, 32, 8, 8))
    first = s.put("Slice", 0, (1, 16, 8, 8), starts=(0,), ends=(16,), axes=(1,))
    second = s.put("Slice", 0, (1, 16, 8, 8), starts=(-16,), ends=(2**63 - 1,), axes=(1,))
    graph = s.graph(s.concat(first, s.relu(s.conv(second, 16))))
    out = adapted(graph, [(1, 24, 6, 6)], [(1, 24, 6, 6)])
    assert widths(out)[:2] == [12, 12]
    assert attribute(out, "Slice", "starts") == [(0,), (12,)]


def test_all_but_one_channel() -> None:
    s = Segment((1, 32, 8, 8))
    cut = s.put("Slice", 0, (1, 31, 8, 8), starts=(0,), ends=(-1,), axes=(1,))
    out = adapted(s.graph(s.relu(cut)), [(1, 24, 6, 6)], [(1, 23, 6, 6)])
    assert widths(out) == [23, 23]
    assert "Slice (operator 0) needs 24" in reason(
        s.graph(s.relu(cut)), [(1, 24, 6, 6)], [(1, 24, 6, 6)]
    ) or "Slice (operator 0)" in reason(s.graph(cut), [(1, 24, 6, 6)], [(1, 24, 6, 6)])


def test_the_first_five_channels_need_five() -> None:
    s = Segment((1, 32, 8, 8))
    cut = s.put("Slice", 0, (1, 5, 8, 8), starts=(0,), ends=(5,), axes=(1,))
    assert widths(adapted(s.graph(cut), [(1, 7, 6, 6)], [(1, 5, 6, 6)])) == [5]
    assert "Slice (operator 0)" in reason(s.graph(cut), [(1, 4, 6, 6)], [(1, 5, 6, 6)])


def test_every_other_pixel() -> None:
    s = Segment((1, 3, 8, 8))
    every: dict[str, AttributeValue] = {"ends": (2**63 - 1,) * 2, "axes": (2, 3), "steps": (2, 2)}
    starts = [(y, x) for y in (0, 1) for x in (0, 1)]
    parts = [s.put("Slice", 0, (1, 3, 4, 4), starts=start, **every) for start in starts]
    graph = s.graph(s.conv(s.concat(*parts), 16))
    assert widths(adapted(graph, [(1, 3, 10, 12)], [(1, 24, 5, 6)]))[4] == 12
    assert isinstance(reason(graph, [(1, 3, 9, 12)], [(1, 24, 5, 6)]), str), "9 rows: 5 and 4"


def test_pads_add_to_sizes_and_channels() -> None:
    s = Segment((1, 16, 8, 8))
    wide = s.put("Pad", 0, (1, 20, 10, 10), pads=(0, 2, 1, 1, 0, 2, 1, 1), mode="constant")
    graph = s.graph(s.conv(wide, 8, 3, 2, pad=0))
    out = adapted(graph, [(1, 24, 14, 14)], [(1, 16, 7, 7)])
    assert out.op_shapes[0] == (1, 28, 16, 16)
    mirrored = Segment((1, 4, 8, 8))
    far = mirrored.put("Pad", 0, (1, 4, 14, 14), pads=(0, 0, 3, 3) * 2, mode="reflect")
    assert "Pad (operator 0)" in reason(mirrored.graph(far), [(1, 4, 3, 3)], [(1, 4, 9, 9)])


def test_a_concatenation_with_a_constant_is_left_alone() -> None:
    s = Segment((1, 16, 64))
    token = s.put("Concat", 0, (1, 17, 64), axis=1)
    assert reason(s.graph(token), [(1, 32, 64)], [(1, 33, 64)]) == (
        "Concat (operator 0): concatenation with a constant"
    )


# --- broadcasts


def test_a_gate_per_row_and_one_per_column() -> None:
    s = Segment((1, 16, 8, 6))
    rows = s.put("ReduceMean", 0, (1, 16, 8, 1), axes=(3,), keepdims=1)
    columns = s.put("ReduceMean", 0, (1, 16, 1, 6), axes=(2,), keepdims=1)
    gate = s.add(Op.make("Mul", (rows, columns)), (1, 16, 8, 6))
    graph = s.graph(s.join("Mul", s.conv(0, 16), gate))
    assert adapted(graph, [(1, 24, 5, 9)], [(1, 24, 5, 9)]).op_shapes[2] == (1, 24, 5, 9)
    assert "8x6" not in reason(graph, [(1, 24, 5, 9)], [(1, 24, 3, 9)])


# --- pools


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("dilation", [1, 2])
def test_dilated_pools_with_floor_and_ceil(ceil: int, dilation: int) -> None:
    s = Segment((1, 8, 16, 16))
    mined = Window((3, 3), (2, 2), (dilation,) * 2, ((1, 1),) * 2, ceil=bool(ceil))
    made = mined.size_after((16, 16))
    assert made is not None
    attributes: dict[str, AttributeValue] = {"dilations": (2, 2)} if dilation == 2 else {}
    pool = s.put(
        "MaxPool", 0, (1, 8, *made),
        kernel_shape=(3, 3), strides=(2, 2), pads=(1,) * 4, ceil_mode=ceil, **attributes,
    )  # fmt: skip
    done = 0
    for given in ((9, 9), (10, 10), (11, 7), (12, 12), (13, 8)):
        after = mined.size_after(given)
        if after is not None:
            out = adapted(s.graph(pool), [(1, 24, *given)], [(1, 24, *after)])
            assert out.ops[0].get("strides") == (2, 2)
            done += 1
    assert done > 1


def test_dilated_convolutions_keep_their_size() -> None:
    s = Segment((1, 8, 16, 16))
    conv = Op.make(
        "Conv", (0,), kernel_shape=(3, 3), strides=(1, 1), pads=(2,) * 4, dilations=(2, 2), group=1
    )
    graph = s.graph(s.add(conv, (1, 8, 16, 16)))
    out = adapted(graph, [(1, 8, 9, 9)], [(1, 16, 5, 5)])
    assert (out.ops[0].get("dilations"), out.ops[0].get("strides")) == ((2, 2), (2, 2))


def test_large_strides_are_a_last_resort() -> None:
    s = Segment((1, 8, 16, 16))
    assert strides(adapted(s.graph(s.conv(0, 8, 5)), [(1, 3, 32, 32)], [(1, 8, 8, 8)])) == [(4, 4)]


# --- the lattice


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


# --- several outputs of one node


def split(parts: tuple[int, ...], **more: AttributeValue) -> Segment:
    s = Segment((1, sum(parts), 8, 8))
    for number, part in enumerate(parts):
        position: dict[str, AttributeValue] = {"output": number} if number else {}
        s.put("Split", 0, (1, part, 8, 8), axis=1, **position, **more)
    return s


def test_a_split_keeps_its_shares() -> None:
    s = split((8, 24), split=(8, 24))
    graph = s.graph(s.concat(1, s.conv(2, 24)))
    out = adapt(graph, [(1, 48, 6, 6)], [(1, 64, 6, 6)])
    assert isinstance(out, OpGraph)
    assert widths(out) == [12, 36, 52, 64]
    assert [op.get("split") for op in out.ops[:2]] == [(12, 36), (12, 36)]
    assert "Split (operator 0)" in reason(graph, [(1, 50, 6, 6)], [(1, 64, 6, 6)])


def test_a_split_whose_other_parts_are_elsewhere_is_left_alone() -> None:
    s = Segment((1, 32, 8, 8))
    part = s.put("Split", 0, (1, 8, 8, 8), axis=1, output=1)
    assert reason(s.graph(s.relu(part)), [(1, 16, 8, 8)], [(1, 4, 8, 8)]) == (
        "Split (operator 0): its other parts are elsewhere"
    )


# --- many boundary tensors


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
