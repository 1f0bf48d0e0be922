"""What a graph costs by counting: multiply-accumulates, parameters, activation bytes.

Counts are for the batch that the graph's shapes name (1 unless the reader was told otherwise).
"""

from __future__ import annotations

from math import prod

from autogo_onnx.opgraph import OpGraph
from autogo_onnx.weights import weight_shapes

_FLOAT_BYTES = 4


def op_macs(graph: OpGraph) -> tuple[int, ...]:
    """Multiply-accumulates of every operator; 0 for those that only move, add or compare.

    Where a shape is unknown, written `()`, nothing is counted.

    >>> from autogo_onnx.opgraph import Op
    >>> conv = Op.make("Conv", (0,), kernel_shape=(3, 3), group=2, pads=(1, 1, 1, 1))
    >>> op_macs(OpGraph(((1, 4, 8, 8),), (conv,), ((1, 6, 8, 8),), (1,)))
    (6912,)
    """
    return tuple(_macs_of(graph, index) for index in range(len(graph.ops)))


def macs(graph: OpGraph) -> int:
    """Multiply-accumulates of the whole graph."""
    return sum(op_macs(graph))


def op_parameters(graph: OpGraph) -> tuple[int, ...]:
    """Stored weights of every operator, biases included (`C_out` for each Conv and Gemm)."""
    shapes = weight_shapes(graph)
    return tuple(sum(map(prod, shapes.get(index, ()))) for index in range(len(graph.ops)))


def parameters(graph: OpGraph) -> int:
    """Stored weights of the whole graph; an unfolded BatchNormalization counts its four vectors."""
    return sum(op_parameters(graph))


def activation_bytes(graph: OpGraph) -> int:
    """Bytes of all tensors, each once: boundary inputs and every operator's output, float32."""
    return _FLOAT_BYTES * sum(prod(graph.shape(t)) for t in range(graph.n_tensors))


def _macs_of(graph: OpGraph, index: int) -> int:
    """Output values times the products summed into each (ConvTranspose: the other way round)."""
    op, out = graph.ops[index], graph.op_shapes[index]
    if op.kind not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return 0
    operand = graph.shape(op.inputs[0])
    if not operand or (not out and op.kind != "MatMul"):
        return 0  # A shape that is not known, as behind an operator of an unknown domain.
    if op.kind != "MatMul" and min(len(operand), len(out)) < 2:
        return 0  # Its data is constant, and what it reads is its bias.
    window: int = prod(op.get("kernel_shape", ()))
    group: int = op.get("group", 1) or 1  # a file may say 0, which ONNX Runtime refuses
    match op.kind:
        case "Conv":
            return prod(out) * (operand[1] // group) * window
        case "ConvTranspose":
            return prod(operand) * (out[1] // group) * window
        case "Gemm":
            return prod(out) * operand[1]
    return prod(out) * operand[-1]
