"""The weights every operator of an OpGraph needs: their shapes, and random values of them."""

from __future__ import annotations

from math import prod

import numpy as np

from autogo_onnx.opgraph import Op, OpGraph, Shape

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_AFFINE = frozenset({"Add", "Mul"})
_CHANNELED = frozenset({"Conv", "ConvTranspose", "Gemm", "BatchNormalization"})


def weight_shapes(graph: OpGraph) -> dict[int, tuple[Shape, ...]]:
    """Shapes of the weights, by operator index; operators without weights are absent.

    | kind | weights |
    | --- | --- |
    | Conv | W[C_out, C_in / group, *kernel], B[C_out] |
    | ConvTranspose | W[C_in, C_out / group, *kernel], B[C_out] |
    | Gemm | W[out, in], B[out] |
    | MatMul of one operand | W[in, out] |
    | PRelu | slope[C, 1, ...] |
    | BatchNormalization | scale[C], B[C], mean[C], variance[C] |
    | Add, Mul of one operand | a value per channel[C, 1, ...] |
    """
    found: dict[int, tuple[Shape, ...]] = {}
    for index, op in enumerate(graph.ops):
        operands = tuple(graph.shape(t) for t in op.inputs)
        shapes = _of_op(op, operands, graph.op_shapes[index])
        if shapes:
            found[index] = shapes
    return found


def random_weights(graph: OpGraph, seed: int) -> dict[int, tuple[Array, ...]]:
    """He-scaled random weights for every operator that has weights, as `weight_shapes` orders them.

    The values of one operator depend on the seed and its index alone.
    """
    return {
        index: _draw(graph.ops[index].kind, shapes, np.random.default_rng([seed, index]))
        for index, shapes in weight_shapes(graph).items()
    }


def _of_op(op: Op, operands: tuple[Shape, ...], out: Shape) -> tuple[Shape, ...]:
    """Weight shapes of one operator from its operands' shapes and its output shape."""
    group = op.get("group", 1) or 1  # a file may say 0, which ONNX Runtime refuses
    kernel = op.get("kernel_shape", ())
    if not out or not all(operands[:1]):
        return ()  # Unknown shapes.
    if op.kind in _CHANNELED and min(len(out), len(operands[0])) < 2:
        return ()  # Its data is constant, and what it reads is its bias.
    match op.kind:
        case "Conv":
            return (out[1], operands[0][1] // group, *kernel), (out[1],)
        case "ConvTranspose":
            return (operands[0][1], out[1] // group, *kernel), (out[1],)
        case "Gemm":
            return (out[1], operands[0][1]), (out[1],)
        case "MatMul" if len(operands) == 1:
            return ((operands[0][-1], out[-1]),)
        case "PRelu" if len(operands) == 1:
            return (_per_channel(out),)
        case "BatchNormalization":
            return ((out[1],),) * 4
        case kind if kind in _AFFINE and len(operands) == 1:
            return (_per_channel(out) if out == operands[0] else out[1:],)
    return ()


def _per_channel(shape: Shape) -> Shape:
    """One value per channel, in a shape that broadcasts against the full one."""
    return (shape[1], *(1,) * (len(shape) - 2)) if len(shape) > 1 else shape


def _draw(kind: str, shapes: tuple[Shape, ...], rng: np.random.Generator) -> tuple[Array, ...]:
    """Values that keep activations at unit scale, so that deep random networks stay finite."""

    def normal(shape: Shape, scale: float, mean: float = 0.0) -> Array:
        values = rng.standard_normal(shape)
        values *= scale  # in place: a single layer may have 100 million
        values += mean
        return values.astype(np.float32)

    if kind == "BatchNormalization":
        scale, bias, mean, _ = (
            normal(s, 0.1, m) for s, m in zip(shapes, (1, 0, 0, 0), strict=True)
        )
        return scale, bias, mean, rng.uniform(0.5, 1.5, shapes[3]).astype(np.float32)
    if kind in _AFFINE:
        return (normal(shapes[0], 0.1, 1.0 if kind == "Mul" else 0.0),)
    if kind == "PRelu":
        return (normal(shapes[0], 0.05, 0.25),)
    fan_in = _fan_in(kind, shapes[0])
    weight = normal(shapes[0], (2 / max(fan_in, 1)) ** 0.5)
    return (weight, *(normal(s, 0.05) for s in shapes[1:]))


def _fan_in(kind: str, weight: Shape) -> int:
    """Products summed into one output value."""
    if kind == "MatMul":
        return weight[0]
    return weight[0] if kind == "ConvTranspose" else prod(weight[1:])
