"""Shape adaptation of operators that only move values: axes change places, parts are taken."""

from __future__ import annotations

from segment_cases import Segment
from shape_checks import adapted, attribute, reason, strides, widths

from autogo_onnx.opgraph import AttributeValue, Op

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


def test_mirrored_channels_are_left_alone() -> None:
    s = Segment((1, 16, 8, 8))
    wide = s.put("Pad", 0, (1, 20, 8, 8), pads=(0, 2, 0, 0, 0, 2, 0, 0), mode="reflect")
    assert reason(s.graph(wide), [(1, 2, 8, 8)], [(1, 6, 8, 8)]) == (
        "Pad (operator 0): channels added as copies of others"
    )


def test_a_concatenation_with_a_constant_is_left_alone() -> None:
    s = Segment((1, 16, 64))
    token = s.put("Concat", 0, (1, 17, 64), axis=1)
    assert reason(s.graph(token), [(1, 32, 64)], [(1, 33, 64)]) == (
        "Concat (operator 0): concatenation with a constant"
    )


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
    out = adapted(graph, [(1, 48, 6, 6)], [(1, 64, 6, 6)])
    assert widths(out) == [12, 36, 52, 64]
    assert [op.get("split") for op in out.ops[:2]] == [(12, 36), (12, 36)]
    assert "Split (operator 0)" in reason(graph, [(1, 50, 6, 6)], [(1, 64, 6, 6)])


def test_a_split_along_a_map_and_two_equal_ones() -> None:
    s = Segment((1, 16, 8, 8))
    for number in (0, 1, 0, 1):
        position: dict[str, AttributeValue] = {"output": number} if number else {}
        s.put("Split", 0, (1, 16, 4, 8), axis=2, **position)
    graph = s.graph(s.join("Add", 1, 4), s.join("Mul", 2, 3))
    adapted(graph, [(2, 24, 6, 5)], [(2, 24, 3, 5)] * 2)
    assert "Split (operator 0) cannot continue from 5x5" in reason(
        graph, [(1, 24, 5, 5)], [(1, 24, 3, 5)] * 2
    )


def test_second_outputs_of_other_nodes_are_left_alone() -> None:
    s = Segment((1, 16, 8, 8))
    pool, window = s.pool(0), {"kernel_shape": (2, 2), "strides": (2, 2), "pads": (0,) * 4}
    indices = s.put("MaxPool", 0, (1, 16, 4, 4), **window, output=1)
    assert reason(s.graph(pool, indices), [(1, 8, 4, 4)], [(1, 8, 2, 2)] * 2) == (
        "MaxPool (operator 1): the second output of a node"
    )


def test_a_split_whose_other_parts_are_elsewhere_is_left_alone() -> None:
    s = Segment((1, 32, 8, 8))
    part = s.put("Split", 0, (1, 8, 8, 8), axis=1, output=1)
    assert reason(s.graph(s.relu(part)), [(1, 16, 8, 8)], [(1, 4, 8, 8)]) == (
        "Split (operator 0): its other parts are elsewhere"
    )
