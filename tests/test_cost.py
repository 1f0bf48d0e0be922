"""Counts against figures worked out by hand."""

from __future__ import annotations

import numpy as np

from autogo_onnx import cost
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.weights import random_weights, weight_shapes


def _mbconv() -> OpGraph:
    """1x1 expand 16 -> 64, Clip, 3x3 depthwise of stride 2, pool, Gemm to 10."""
    point = Op.make("Conv", (0,), kernel_shape=(1, 1), strides=(1, 1), group=1)
    clip = Op.make("Clip", (1,), min=0.0, max=6.0)
    depth = Op.make("Conv", (2,), kernel_shape=(3, 3), strides=(2, 2), group=64, pads=(1,) * 4)
    pool = Op.make("GlobalAveragePool", (3,))
    flat = Op.make("Flatten", (4,), axis=1)
    gemm = Op.make("Gemm", (5,), transB=1)
    shapes = ((1, 64, 9, 9), (1, 64, 9, 9), (1, 64, 5, 5), (1, 64, 1, 1), (1, 64), (1, 10))
    return OpGraph(((1, 16, 9, 9),), (point, clip, depth, pool, flat, gemm), shapes, (6,))


def test_macs_by_operator() -> None:
    expected = (81 * 64 * 16, 0, 25 * 64 * 9, 0, 0, 640)
    assert cost.op_macs(_mbconv()) == expected
    assert cost.macs(_mbconv()) == sum(expected)


def test_parameters_count_biases() -> None:
    expected = (64 * 16 + 64, 0, 64 * 9 + 64, 0, 0, 650)
    assert cost.op_parameters(_mbconv()) == expected
    assert cost.parameters(_mbconv()) == sum(expected)


def test_activation_bytes_count_every_tensor_once() -> None:
    values = 16 * 81 + 2 * 64 * 81 + 64 * 25 + 64 + 64 + 10
    assert cost.activation_bytes(_mbconv()) == 4 * values


def test_transposed_convolution_counts_per_input_value() -> None:
    up = Op.make("ConvTranspose", (0,), kernel_shape=(2, 2), strides=(2, 2), group=2)
    graph = OpGraph(((1, 8, 5, 5),), (up,), ((1, 6, 10, 10),), (1,))
    assert cost.macs(graph) == 8 * 25 * 3 * 4
    assert cost.parameters(graph) == 8 * 3 * 4 + 6


def test_parameters_are_what_random_weights_draws() -> None:
    kinds = ("BatchNormalization", "PRelu", "Add", "Mul")
    ops = tuple(Op.make(kind, (i,)) for i, kind in enumerate(kinds))
    graph = OpGraph(((1, 8, 3, 3),), ops, ((1, 8, 3, 3),) * 4, (4,))
    weights = random_weights(graph, seed=3)
    drawn = [sum(w.size for w in weights[i]) for i in range(4)]
    assert drawn == list(cost.op_parameters(graph)) == [32, 8, 8, 8]


def test_random_weights_follow_the_seed_and_the_operator_only() -> None:
    graph = _mbconv()
    first, again, other = (random_weights(graph, seed=s) for s in (1, 1, 2))
    assert {i: tuple(w.shape for w in ws) for i, ws in first.items()} == weight_shapes(graph)
    for index, weights in first.items():
        np.testing.assert_array_equal(weights[0], again[index][0])
        assert not np.array_equal(weights[0], other[index][0])
