"""What one operator is and costs, whatever its neighbours: what the features add up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import cost
from autogo_onnx.features.ways import KINDS, Step, step
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
MACS_SPLIT = ("conv1x1", "conv3x3", "conv_large", "depthwise3x3", "depthwise_large")
AMOUNTS = (
    *(f"{name}_ops" for name in CLASSES),
    *(f"{name}_macs" for name in MACS_SPLIT),
    *("macs", "parameters", "bytes"),
)
"""What adds up over operators; `bytes` are those of the operator's float32 output."""

_CLASS_OF_KIND = {
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


@dataclass(frozen=True, eq=False)
class OpFacts:
    """What one operator adds to its part, whatever its neighbours are.

    Attributes:
        amounts: float64[A], see `AMOUNTS`; whole numbers, exact below 2 ** 53.
        channels: of its output.
        step: what it adds to the ways that lead through it.
    """

    amounts: NDArray[np.float64]
    channels: int
    step: Step


def class_of(op: Op, in_channels: int) -> str:
    """The operator's class, one of `CLASSES`."""
    if op.kind != "Conv":
        return _CLASS_OF_KIND.get(op.kind, "activation" if op.kind in _ACTIVATIONS else "other")
    kernel, group = op.get("kernel_shape") or (1,), op.get("group", 1)
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
    macs, parameters = cost.macs(alone), cost.parameters(alone)
    amounts = np.zeros(len(AMOUNTS))
    amounts[CLASSES.index(name)] = 1
    if name in MACS_SPLIT:
        amounts[len(CLASSES) + MACS_SPLIT.index(name)] = macs
    amounts[-3:] = macs, parameters, 4 * prod(out)
    return OpFacts(amounts, channels(out), _step(op, name, operands))


def _step(op: Op, name: str, operands: tuple[Shape, ...]) -> Step:
    kernel = op.get("kernel_shape") or (1,)
    weighted, wide, pool = op.kind in _WEIGHTED, max(kernel) > 1, name in _POOLS
    side = max(1, pixels(operands[0])) ** 0.5 if operands else 1.0
    kind = "pool" if pool else ("spatial" if wide else "pointwise") if weighted else None
    return step(
        None if kind is None else KINDS.index(kind),
        weighted=weighted,
        activation=name == "activation",
        growth=(max(kernel) - 1) / side if wide and (weighted or pool) else 0.0,
        joins=len(operands) > 1,
    )


def channels(shape: Shape) -> int:
    """Width of a tensor `[N,C,...]`; 1 when it has no such axis."""
    return shape[1] if len(shape) > 1 else 1


def pixels(shape: Shape) -> int:
    """Positions of a tensor `[N,C,...]` that a channel has."""
    return prod(shape[2:])
