from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from feature_cases import all_ways, numbers, plain_ways, random_graph, residual_block
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx import cost, features
from autogo_onnx.features.operators import CLASSES, class_of
from autogo_onnx.features.ways import ALL_WAYS, STEPS
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.segment_db.families import nasbench201
from autogo_onnx.segment_db.families.builder import Builder


def test_columns_have_distinct_names_and_every_part_fills_them() -> None:
    assert len(set(features.PART_COLUMNS)) == len(features.PART_COLUMNS)
    assert len(features.describe(residual_block())) == len(features.PART_COLUMNS)


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
    assert found[ALL_WAYS] == np.log2(3)
    assert (found["weighted_path_min"], found["weighted_path_max"]) == (1, 2)
    assert (found["spatial_path_min"], found["spatial_path_mean"]) == (0, 1)
    assert (found["pool_path_max"], found["activation_path_max"]) == (1, 1)
    assert found["receptive_path_max"] == pytest.approx(2 + 2 * 2), "the second conv sees stride 2"
    assert found["residual"] == 0, "the shortcut has weights"
    assert (found["spatial_first"], found["pool_first"], found["pointwise_first"]) == (1, 1, 0)
    assert (found["spatial_last"], found["pool_last"], found["pointwise_last"]) == (1, 0, 1)
    assert (found["input_readers"], found["forks"]) == (2, 1)


@given(st.integers(0, 1 << 32))
def test_ways_are_those_found_one_by_one(seed: int) -> None:
    graph = random_graph(random.Random(seed))
    found = numbers(graph)
    walked = all_ways(graph, range(graph.n_inputs), graph.outputs)
    expected = plain_ways(graph, walked, unit=16.0)
    left_out = expected.keys() - found.keys()
    assert left_out == {"plain_ways_steps_min", "plain_ways_steps_max"}
    for name in expected.keys() - left_out:
        assert found[name] == pytest.approx(expected[name], rel=1e-12), name
    for step in STEPS:
        low, mean, high = (found[f"{step}_path_{way}"] for way in ("min", "mean", "max"))
        assert low - 1e-9 <= mean <= high + 1e-9


def test_an_identity_is_described_by_its_boundary() -> None:
    found = numbers(OpGraph(((1, 16, 8, 8),), (), (), (0,)))
    assert found["in_channels_log2"] == found["out_channels_log2"] == np.log2(17)
    assert found["ops"] == found["macs_log2"] == found["weighted_path_max"] == 0
    assert found[ALL_WAYS] == 1


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
    assert np.array_equal(features.describe(block), features.describe(other))


def test_isomorphic_cells_have_the_same_features() -> None:
    one = nasbench201.build(
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|"
    ).folded()
    same = nasbench201.build(
        "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"
    ).folded()
    assert np.array_equal(features.describe(one), features.describe(same))


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
    assert np.isfinite(features.describe(graph)).all()


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ({"group": 0, "kernel_shape": (3, 3)}, (1, 8, 4, 4)),
        ({"kernel_shape": ()}, (1, 8, 4, 4)),
        ({"kernel_shape": (1 << 40, 3)}, (1, 8, 4, 4)),
        ({"kernel_shape": (3, 3)}, (1, 0, 4, 4)),
        ({"kernel_shape": (3, 3)}, (1, 1 << 62, 1 << 62, 1 << 62)),
        ({"kernel_shape": (3, 3)}, ()),
    ],
)
def test_what_only_a_broken_file_says_is_described(
    attributes: dict[str, Any], shape: tuple[int, ...]
) -> None:
    conv = OpGraph((shape,), (Op.make("Conv", (0,), **attributes),), (shape,), (1,))
    assert np.isfinite(features.rows(features.Network(conv).site([0]), [conv])).all()


def test_many_forks_do_not_overflow() -> None:
    net = Builder((1, 4, 4, 4))
    x = 0
    for _ in range(3000):
        x = net.add(x, x)
    assert numbers(net.graph(x))[ALL_WAYS] == pytest.approx(3000)
