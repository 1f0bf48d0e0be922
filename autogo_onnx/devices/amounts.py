"""What the operators of a graph amount to: four numbers by class of operator.

Additive, so the amounts of a network are those of its parts, and a latency that is a weighted sum
of them prices a replacement without the rest of the network. A BatchNormalization right behind
a convolution is not counted: runtimes fold it, and where they did not, the published latency of the
convolution has it. A node of several outputs reads its inputs once: its first output stands for it,
the others are only written.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import cost
from autogo_onnx.features.operators import CLASSES, channels, class_of
from autogo_onnx.opgraph import Attributes, Op, OpGraph, Shape

Amounts = NDArray[np.float64]

AMOUNTS = ("operators", "macs", "activation_bytes", "weight_bytes")
"""Activations are those read and those written, float32; all for the batch of the graph."""

_FLOAT_BYTES = 4
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_CLASS_NUMBER = {name: number for number, name in enumerate(CLASSES)}


def amounts(graph: OpGraph) -> Amounts:
    """What each class of operators amounts to, float64[C,4]: `CLASSES` by `AMOUNTS`.

    Of shapes that are not known, written `()`, one value is counted.

    >>> conv = Op.make("Conv", (0,), kernel_shape=(3, 3), group=1, pads=(1, 1, 1, 1))
    >>> one = amounts(OpGraph(((1, 4, 8, 8),), (conv,), ((1, 6, 8, 8),), (1,)))
    >>> one[CLASSES.index("conv3x3")].tolist()
    [1.0, 13824.0, 2560.0, 888.0]
    """
    found = np.zeros((len(CLASSES), len(AMOUNTS)))
    for op, shape in zip(graph.ops, graph.op_shapes, strict=True):
        if op.kind == "BatchNormalization" and _is_convolution(graph, op.inputs[0]):
            continue
        operands = tuple(map(graph.shape, op.inputs))
        number, values = _of_op(op.kind, op.attributes, operands, shape)
        found[number] += values
    return found


def _is_convolution(graph: OpGraph, tensor: int) -> bool:
    maker = graph.producer(tensor)
    return maker is not None and graph.ops[maker].kind in _CONVOLUTIONS


@lru_cache(maxsize=1 << 16)
def _of_op(
    kind: str, attributes: Attributes, operands: tuple[Shape, ...], out: Shape
) -> tuple[int, tuple[float, ...]]:
    """The class of one operator and its amounts; a network repeats few distinct ones."""
    op = Op(kind, tuple(range(len(operands))), attributes)
    number = _CLASS_NUMBER[class_of(op, channels(operands[0]) if operands else 1)]
    if op.get("output", 0):
        return number, (0.0, 0.0, _FLOAT_BYTES * prod(out), 0.0)
    alone = OpGraph(operands, (op,), (out,), (len(operands),))
    moved = sum(map(prod, operands)) + prod(out)
    macs, weights = cost.macs(alone), cost.parameters(alone)
    return number, (1.0, macs, _FLOAT_BYTES * moved, _FLOAT_BYTES * weights)
