"""Which stored tensors of a model are learnt.

A floating-point tensor that the file stores, as an initializer or a Constant node, is a

- *weight*, learnt by gradients, where it is the kernel or bias of a Conv, ConvTranspose or Gemm, an
  operand of a MatMul, the scale or shift of a normalization, the slope of a PRelu, or an operand
  of an Add or Mul with more than one value (a bias or scale per channel). Single numbers are
  spelled-out formulas (the 3 and 6 of a HardSwish), and Sub and Div prepare inputs: they stay;
- *statistic*, the mean or variance of one BatchNormalization, which training re-estimates.

Operators that only rearrange (Identity, Unsqueeze, Reshape, Transpose, ...) may lie between the
stored tensor and the place where it is used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from autogo_onnx.errors import InputError
from autogo_onnx.torch_graph.node import Node

_WEIGHTS = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
}
_WEIGHTS_OF_SEVERAL_VALUES = {"Add": (0, 1), "Mul": (0, 1)}
_STATISTICS = (3, 4)
_REARRANGING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_NARROW = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Learnt:
    """Names of stored tensors, in the order in which nodes use them.

    Attributes:
        weights: learnt by gradients.
        statistics: re-estimated from batches.
        uses: of each, the node that first reads it, and as which of its inputs.
    """

    weights: tuple[str, ...]
    statistics: tuple[str, ...]
    uses: Mapping[str, tuple[Node, int]]


def stored(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The tensors whose values the main graph stores: initializers and values of Constant nodes."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    found[node.output[0]] = attribute.t
    return found


def learnt(nodes: tuple[Node, ...], tensors: Mapping[str, onnx.TensorProto]) -> Learnt:
    """What training changes.

    A mean or variance that several normalizations share is left as it is: each would estimate
    another one.

    Args:
        nodes: of the graph, in order.
        tensors: those stored.

    Raises:
        InputError: a weight has 16 bits, which small steps of training do not change.
    """
    origin = {name: name for name in tensors}
    weights: dict[str, tuple[Node, int]] = {}
    statistics: Counter[str] = Counter()
    uses: dict[str, tuple[Node, int]] = {}
    for node in nodes:
        if node.kind in _REARRANGING and node.inputs[0] in origin:
            origin[node.outputs[0]] = origin[node.inputs[0]]
        for position, name in enumerate(node.inputs):
            source = origin.get(name)
            if source is None:
                continue
            tensor = tensors[source]
            if tensor.data_type in _NARROW:
                raise InputError(f"tensor {source!r} has 16 bits: convert the model to float32")
            if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
                continue
            if node.kind == "BatchNormalization" and position in _STATISTICS:
                statistics[source] += 1
                uses.setdefault(source, (node, position))
            elif _is_weight(node, position, tensor):
                weights.setdefault(source, (node, position))
    own = tuple(name for name, count in statistics.items() if count == 1 and name not in weights)
    return Learnt(tuple(weights), own, uses | weights)


def _is_weight(node: Node, position: int, tensor: onnx.TensorProto) -> bool:
    if position in _WEIGHTS.get(node.kind, ()):
        return True
    several = math.prod(tensor.dims) > 1
    return several and position in _WEIGHTS_OF_SEVERAL_VALUES.get(node.kind, ())
