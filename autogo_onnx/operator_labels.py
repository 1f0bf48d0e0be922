"""Operators as text: everything that matters for a structure, or only what a token tells."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from autogo_onnx.opgraph import Attributes, AttributeValue, OpGraph, Shape

# `Concat` is none of them: the order of its operands is the order of the channels.
COMMUTATIVE = frozenset({"Add", "And", "Equal", "Max", "Mean", "Min", "Mul", "Or", "Sum", "Xor"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})
_ACTIVATIONS = (
    "Celu Clip Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Sigmoid Softplus"
    " Softsign Swish Tanh"
).split()
# Kinds that take each other's place: the name of the coarsest token.
KIN = {
    **dict.fromkeys(_ACTIVATIONS, "Activation"),
    **dict.fromkeys(sorted(_POOLS), "Pool"),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ReduceMean"), "GlobalPool"),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze"), "Flatten"),
    **dict.fromkeys(("Gemm", "MatMul"), "Gemm"),
}
# Numerical guards, states of training and layouts of weights: another value, the same structure.
_IGNORED = frozenset(
    {"epsilon", "momentum", "seed", "spatial", "storage_order", "training_mode", "transB"}
)
# A Gemm's weights take up any scale.
_IGNORED_OF_KIND = {"Gemm": frozenset({"alpha", "beta"})}


def structure_label(graph: OpGraph, index: int) -> str:
    """Kind and all attributes that matter; ONNX's defaults spelled out, depthwise by its name.

    >>> from autogo_onnx.opgraph import Op
    >>> conv = Op.make("Conv", (0,), kernel_shape=(1, 1), group=8)
    >>> structure_label(OpGraph(((1, 8, 4, 4),), (conv,), ((1, 8, 4, 4),), (1,)), 0)
    'Conv(1):dilations=1.1,group=depthwise,kernel_shape=1.1,pads=0.0.0.0,strides=1.1'
    """
    op = graph.ops[index]
    operand = graph.shape(op.inputs[0]) if op.inputs else ()
    return _structure_label(op.kind, len(op.inputs), op.attributes, operand)


def token_label(graph: OpGraph, index: int) -> str:
    """Kind, kernel, stride, dilation, connection, scale of channels and resolution (`+ = -`).

    >>> from autogo_onnx.opgraph import Op
    >>> conv = Op.make("Conv", (0,), kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    >>> token_label(OpGraph(((1, 8, 4, 4),), (conv,), ((1, 16, 4, 4),), (1,)), 0)
    'Conv:k3x3,s1,dense,c+,r='
    """
    op = graph.ops[index]
    operands = tuple(graph.shape(t) for t in op.inputs)
    return _token_label(op.kind, op.attributes, operands, graph.op_shapes[index])


def structure_labels(graph: OpGraph) -> list[str]:
    """The `structure_label` of every operator."""
    shapes = graph.input_shapes + graph.op_shapes
    return [
        _structure_label(
            op.kind,
            len(op.inputs),
            op.attributes,
            shapes[op.inputs[0]] if op.inputs and op.kind in _CONVOLUTIONS else (),
        )
        for op in graph.ops
    ]


def token_labels(graph: OpGraph) -> list[str]:
    """The `token_label` of every operator."""
    shapes = graph.input_shapes + graph.op_shapes
    return [
        _token_label(op.kind, op.attributes, tuple([shapes[t] for t in op.inputs]), shape)
        for op, shape in zip(graph.ops, graph.op_shapes, strict=True)
    ]


@lru_cache(maxsize=1 << 14)
def _structure_label(kind: str, arity: int, attributes: Attributes, operand: Shape) -> str:
    values = {**_defaults(kind, dict(attributes)), **dict(attributes)}
    if kind in _CONVOLUTIONS:
        values["group"] = _connection(values, operand)
    ignored = _IGNORED | _IGNORED_OF_KIND.get(kind, frozenset())
    listed = (f"{k}={_text(v)}" for k, v in sorted(values.items()) if k not in ignored)
    return f"{kind}({arity}):" + ",".join(listed)


@lru_cache(maxsize=1 << 14)
def _token_label(
    kind: str, attributes: Attributes, operands: tuple[Shape, ...], result: Shape
) -> str:
    values = dict(attributes)
    parts = _window(values)
    if kind in _CONVOLUTIONS and operands:
        parts.append(_connection(values, operands[0]))
    if kind in COMMUTATIVE and len(operands) < 2:
        parts.append("constant")
    if operands:
        parts.append("c" + _scale(max(map(_channels, operands)), _channels(result)))
        parts.append("r" + _scale(max(map(_resolution, operands)), _resolution(result)))
    return f"{kind}:{','.join(parts)}"


def _window(values: dict[str, AttributeValue]) -> list[str]:
    kernel = values.get("kernel_shape")
    if not isinstance(kernel, tuple):
        return []
    parts = ["k" + "x".join(map(str, kernel)), f"s{min(_largest(values.get('strides')), 3)}"]
    return parts + ["dilated"] * (_largest(values.get("dilations")) > 1)


def _largest(value: AttributeValue | None) -> int:
    return max(value) if isinstance(value, tuple) else 1


def _defaults(kind: str, values: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    kernel = values.get("kernel_shape")
    if kind not in _CONVOLUTIONS | _POOLS or not isinstance(kernel, tuple):
        return {}
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    common: dict[str, AttributeValue] = {"dilations": ones, "pads": zeros * 2, "strides": ones}
    match kind:
        case "Conv":
            return common
        case "ConvTranspose":
            return {**common, "output_padding": zeros}
        case "AveragePool":
            return {**common, "ceil_mode": 0, "count_include_pad": 0}
    return {**common, "ceil_mode": 0}


def _connection(values: dict[str, AttributeValue], operand: Shape) -> str:
    group = values.get("group", 1)
    if group == 1:
        return "dense"
    return "depthwise" if group == _channels(operand) else f"groups{group}"


def _text(value: AttributeValue) -> str:
    if isinstance(value, tuple):
        return ".".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _channels(shape: Shape) -> int:
    return shape[1] if len(shape) > 1 else 1


def _resolution(shape: Shape) -> int:
    return prod(shape[2:])


def _scale(before: int, after: int) -> str:
    return "=" if before == after else "+" if after > before else "-"
