"""Counting as the benchmarks publish it, on graphs whose batch normalizations are folded."""

from __future__ import annotations

from math import prod

from autogo_onnx.opgraph import OpGraph


def parameters(graph: OpGraph, *, unnormalized: int = 0) -> int:
    """Parameters with every folded batch normalization unfolded: weights and 2 per channel.

    Args:
        graph: a network of one of the families: convolutions have no bias, linear layers do.
        unnormalized: convolution output channels that no batch normalization follows.
    """
    total = -2 * unnormalized
    for index, op in enumerate(graph.ops):
        width = graph.op_shapes[index][1]
        total += _weights(graph, index)
        total += {"Conv": 2, "BatchNormalization": 2, "Gemm": 1}.get(op.kind, 0) * width
    return total


def _weights(graph: OpGraph, index: int) -> int:
    op = graph.ops[index]
    if op.kind not in ("Conv", "Gemm"):
        return 0
    fan_in: int = graph.shape(op.inputs[0])[1] // int(op.get("group", 1))
    window: int = prod(op.get("kernel_shape", ()))
    return fan_in * graph.op_shapes[index][1] * window
