from __future__ import annotations

import numpy as np
import pytest

from autogo_onnx import cost, features, part_features
from autogo_onnx.operator_facts import CLASSES, class_of
from autogo_onnx.opgraph import Op, OpGraph, cut
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.families.builder import Builder

RESIDUAL = "|skip_connect~0|+|none~0|none~1|+|nor_conv_3x3~0|skip_connect~1|none~2|"


def numbers(graph: OpGraph) -> dict[str, float]:
    described = part_features.describe(graph).tolist()
    return dict(zip(part_features.COLUMNS, described, strict=True))


def residual_block() -> OpGraph:
    net = Builder((1, 16, 8, 8))
    y = net.conv(net.relu(net.conv(0, 32, kernel=3, stride=2)), 32, kernel=3)
    return net.graph(net.add(y, net.conv(net.pool("AveragePool", 0, kernel=2, stride=2), 32)))


def thirds(graph: OpGraph) -> tuple[OpGraph, OpGraph, OpGraph]:
    a, b = len(graph.ops) // 3, 2 * len(graph.ops) // 3
    bounds = (range(a), range(a, b), range(b, len(graph.ops)))
    first, middle, last = (cut(graph, ops).graph for ops in bounds)
    return first, middle, last


def named(row: features.Rows) -> dict[str, float]:
    return dict(zip(features.COLUMNS, row.tolist(), strict=True))


def test_columns_have_distinct_names_and_every_part_fills_them() -> None:
    assert len(set(features.COLUMNS)) == len(features.COLUMNS)
    assert len(set(part_features.COLUMNS)) == len(part_features.COLUMNS)
    assert len(part_features.describe(residual_block())) == len(part_features.COLUMNS)


def test_counts_and_sizes_of_a_residual_block() -> None:
    block = residual_block()
    found = numbers(block)
    assert found["conv3x3_ops"] == 2
    assert found["conv1x1_ops"] == found["average_pool_ops"] == found["add_ops"] == 1
    assert found["ops"] == 6
    assert found["macs_log2"] == np.log2(1 + cost.macs(block))
    assert found["parameters_log2"] == np.log2(1 + cost.parameters(block))
    assert found["bytes_log2"] == np.log2(1 + cost.activation_bytes(block))
    assert found["conv3x3_macs_log2"] == np.log2(1 + (16 + 32) * 9 * 32 * 16)
    assert (found["in_channels_log2"], found["out_channels_log2"]) == (np.log2(17), np.log2(33))
    assert (found["in_pixels_log2"], found["out_pixels_log2"]) == (np.log2(65), np.log2(17))


def test_paths_of_a_residual_block() -> None:
    found = numbers(residual_block())
    assert found["paths_log2"] == np.log2(3)
    assert (found["weighted_path_min"], found["weighted_path_max"]) == (1, 2)
    assert (found["spatial_path_min"], found["spatial_path_mean"]) == (0, 1)
    assert (found["pool_path_max"], found["activation_path_max"]) == (1, 1)
    assert found["receptive_path_max"] == pytest.approx(2 + 2 * 2), "the second conv sees stride 2"
    assert found["residual"] == 0, "the shortcut has weights"
    assert (found["spatial_first"], found["pool_first"], found["pointwise_first"]) == (1, 1, 0)
    assert (found["spatial_last"], found["pool_last"], found["pointwise_last"]) == (1, 0, 1)
    assert (found["input_readers"], found["forks"]) == (2, 1)


def test_an_identity_is_described_by_its_boundary() -> None:
    found = numbers(OpGraph(((1, 16, 8, 8),), (), (), (0,)))
    assert found["in_channels_log2"] == found["out_channels_log2"] == np.log2(17)
    assert found["ops"] == found["macs_log2"] == found["weighted_path_max"] == 0
    assert found["paths_log2"] == 1


def test_nothing_before_the_segment() -> None:
    graph = nasbench_macro.build("01200120").folded()
    nothing, rest = cut(graph, ()).graph, cut(graph, range(5, len(graph.ops))).graph
    segment = cut(graph, range(5)).graph
    found = named(features.row(nothing, segment, segment, rest))
    assert np.isfinite(list(found.values())).all()
    assert found["network.depth"] == 0


def test_rows_equal_single_rows() -> None:
    before, segment, after = thirds(nasbench201.build(RESIDUAL).folded())
    replacements = [segment, residual_block(), OpGraph(segment.input_shapes, (), (), (0,))]
    together = features.rows(features.context(before, segment, after), replacements)
    assert together.dtype == np.float32
    assert together.shape == (3, len(features.COLUMNS))
    for one, replacement in zip(together, replacements, strict=True):
        assert np.array_equal(one, features.row(before, segment, replacement, after))
    assert features.rows(features.context(before, segment, after), []).shape == (0, len(one))


def test_the_way_back_is_the_other_replacement() -> None:
    before, segment, after = thirds(nasbench201.build(RESIDUAL).folded())
    site = features.context(before, segment, after)
    others = [residual_block(), segment]
    for back, other in zip(features.rows_back(site, others), others, strict=True):
        assert np.array_equal(back, features.row(before, other, segment, after))
    assert features.rows_back(site, []).shape == (0, len(features.COLUMNS))


def test_a_segment_replaced_by_itself_changes_nothing() -> None:
    graph = nasbench_macro.build("12021021").folded()
    found = named(features.row(*(thirds(graph)[i] for i in (0, 1, 1, 2))))
    changes = {name: v for name, v in found.items() if name.startswith("change.")}
    assert not any(changes.values())
    assert found["network.macs_log2_change"] == 0
    assert found["network.macs_log2"] == pytest.approx(np.log2(1 + cost.macs(graph)), rel=1e-6)
    share = cost.macs(thirds(graph)[1]) / cost.macs(graph)
    assert found["network.macs_share"] == pytest.approx(share, rel=1e-5)


def test_branches_may_come_in_any_order() -> None:
    block = residual_block()
    swapped = OpGraph(
        block.input_shapes,
        (block.ops[3], *block.ops[:3], block.ops[4], Op.make("Add", (5, 4))),
        (block.op_shapes[3], *block.op_shapes[:3], *block.op_shapes[4:]),
        block.outputs,
    )
    renumbered = {0: 0, 1: 2, 2: 3, 3: 4, 4: 1, 5: 5, 6: 6}
    ops = []
    for op, old in zip(swapped.ops, (3, 0, 1, 2, 4, 5), strict=True):
        inputs = tuple(renumbered[t] for t in block.ops[old].inputs)
        ops.append(Op(op.kind, inputs, op.attributes))
    other = OpGraph(swapped.input_shapes, tuple(ops), swapped.op_shapes, swapped.outputs)
    assert np.array_equal(part_features.describe(block), part_features.describe(other))


def test_isomorphic_cells_have_the_same_features() -> None:
    one = nasbench201.build(
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|"
    ).folded()
    same = nasbench201.build(
        "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"
    ).folded()
    assert np.array_equal(part_features.describe(one), part_features.describe(same))


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (Op.make("Conv", (0,), kernel_shape=(1, 1), group=1), "conv1x1"),
        (Op.make("Conv", (0,), kernel_shape=(3, 3)), "conv3x3"),
        (Op.make("Conv", (0,), kernel_shape=(7, 7)), "conv_large"),
        (Op.make("Conv", (0,), kernel_shape=(1, 3)), "conv_line"),
        (Op.make("Conv", (0,), kernel_shape=(3,)), "conv3x3"),
        (Op.make("Conv", (0,), kernel_shape=(3, 3), group=8), "depthwise3x3"),
        (Op.make("Conv", (0,), kernel_shape=(5, 5), group=8), "depthwise_large"),
        (Op.make("Conv", (0,), kernel_shape=(3, 3), group=2), "grouped"),
        (Op.make("HardSwish", (0,)), "activation"),
        (Op.make("ReduceMean", (0,)), "global_pool"),
        (Op.make("Einsum", (0,)), "other"),
    ],
)
def test_class_of_an_operator(op: Op, expected: str) -> None:
    assert class_of(op, in_channels=8) == expected
    assert expected in CLASSES


def test_unknown_operators_and_odd_ranks_are_described() -> None:
    ops = (Op.make("Custom", (0,)), Op.make("Range", ()), Op.make("Concat", (1, 2), axis=0))
    graph = OpGraph(((),), ops, ((4,), (4,), (8,)), (3,))
    assert np.isfinite(part_features.describe(graph)).all()


def test_many_forks_do_not_overflow() -> None:
    net = Builder((1, 4, 4, 4))
    x = 0
    for _ in range(3000):
        x = net.add(x, x)
    assert numbers(net.graph(x))["paths_log2"] == pytest.approx(3000)
