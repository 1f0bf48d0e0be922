"""What one operator is and costs, whatever its neighbours: what the features add up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from autogo_onnx import cost
from autogo_onnx.opgraph import AttributeValue, Op, OpGraph, Shape

CLASSES = (
    "conv1x1",
    "conv3x3",
    "conv_large",
    "conv_line",
    "depthwise3x3",
    "depthwise_large",
    "grouped",
    "transposed",
    "dense",
    "max_pool",
    "average_pool",
    "global_pool",
    "add",
    "multiply",
    "concat",
    "activation",
    "normalization",
    "resize",
    "other",
)
STEPS = ("pointwise", "spatial", "pool", "weighted", "activation", "receptive")
"""Kinds of steps on a way through a part; `receptive` is a growth, not a count."""

_KINDS = {
    "ConvTranspose": "transposed",
    "Gemm": "dense",
    "MatMul": "dense",
    "MaxPool": "max_pool",
    "AveragePool": "average_pool",
    "GlobalAveragePool": "global_pool",
    "GlobalMaxPool": "global_pool",
    "ReduceMean": "global_pool",
    "Add": "add",
    "Sub": "add",
    "Sum": "add",
    "Mul": "multiply",
    "Div": "multiply",
    "Concat": "concat",
    "BatchNormalization": "normalization",
    "InstanceNormalization": "normalization",
    "LayerNormalization": "normalization",
    "Resize": "resize",
    "Upsample": "resize",
    "DepthToSpace": "resize",
    "SpaceToDepth": "resize",
}
_ACTIVATIONS = frozenset(
    "Celu Clip Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Sigmoid Softmax"
    " Softplus Softsign Swish Tanh ThresholdedRelu".split()
)
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_POOLS = frozenset({"max_pool", "average_pool"})


@dataclass(frozen=True)
class OpFacts:
    """What one operator adds to its part, whatever its neighbours are."""

    class_index: int
    macs: int
    parameters: int
    out_values: int
    channels: int
    steps: tuple[float, ...]


def class_of(op: Op, in_channels: int) -> str:
    """The operator's class, one of `CLASSES`."""
    if op.kind != "Conv":
        return _KINDS.get(op.kind, "activation" if op.kind in _ACTIVATIONS else "other")
    kernel, group = op.get("kernel_shape", (1,)), op.get("group", 1)
    if group > 1 and group == in_channels:
        return "depthwise3x3" if max(kernel) <= 3 else "depthwise_large"
    if group > 1:
        return "grouped"
    if max(kernel) == 1:
        return "conv1x1"
    if len(kernel) > 1 and min(kernel) == 1:
        return "conv_line"
    return "conv3x3" if max(kernel) <= 3 else "conv_large"


@lru_cache(maxsize=1 << 16)
def facts(
    kind: str,
    attributes: tuple[tuple[str, AttributeValue], ...],
    operands: tuple[Shape, ...],
    out: Shape,
) -> OpFacts:
    """Facts of one operator; a network repeats few distinct ones, so they are remembered."""
    op = Op(kind, tuple(range(len(operands))), attributes)
    alone = OpGraph(operands, (op,), (out,), (len(operands),))
    name = class_of(op, channels(operands[0]) if operands else 1)
    kernel = op.get("kernel_shape", (1,))
    weighted, wide = kind in _WEIGHTED, max(kernel, default=1) > 1
    grows = (weighted or name in _POOLS) and wide
    return OpFacts(
        class_index=CLASSES.index(name),
        macs=cost.macs(alone),
        parameters=cost.parameters(alone),
        out_values=prod(out),
        channels=channels(out),
        steps=(
            float(weighted and not wide),
            float(weighted and wide),
            float(name in _POOLS),
            float(weighted),
            float(name == "activation"),
            float((max(kernel) - 1) / pixels(operands[0]) ** 0.5) if grows else 0.0,
        ),
    )


def channels(shape: Shape) -> int:
    """Width of a tensor `[N,C,...]`; 1 when it has no such axis."""
    return shape[1] if len(shape) > 1 else 1


def pixels(shape: Shape) -> int:
    """Positions of a tensor `[N,C,...]` that a channel has."""
    return prod(shape[2:])
