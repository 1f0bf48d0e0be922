"""Shape adaptation of groups, pools, resizes and broadcasts."""

from __future__ import annotations

import pytest
from segment_cases import Segment
from shape_checks import adapted, attribute, reason, strides, widths

from autogo_onnx.opgraph import AttributeValue, Op, Shape
from autogo_onnx.shapes.windows import Window

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


# --- broadcasts


def test_a_gate_per_row_and_one_per_column() -> None:
    s = Segment((1, 16, 8, 6))
    rows = s.put("ReduceMean", 0, (1, 16, 8, 1), axes=(3,), keepdims=1)
    columns = s.put("ReduceMean", 0, (1, 16, 1, 6), axes=(2,), keepdims=1)
    gate = s.add(Op.make("Mul", (rows, columns)), (1, 16, 8, 6))
    graph = s.graph(s.join("Mul", s.conv(0, 16), gate))
    assert adapted(graph, [(1, 24, 5, 9)], [(1, 24, 5, 9)]).op_shapes[2] == (1, 24, 5, 9)
    assert "8x6" not in reason(graph, [(1, 24, 5, 9)], [(1, 24, 3, 9)])
