"""Weights below the smallest normal number (1.2e-38 in float32) -> 0.

Why: training with weight decay leaves thousands of them, and some processors compute with them in
microcode, up to 100 times slower; others do not mind.
Safety: a weight moves by less than 2^-126 (float32), so a sum of n products with inputs up to X
moves by less than n * X * 2^-126, which is below the rounding of every result above n * X * 2^-102:
only last bits can differ. Only what tells nothing from next to nothing could show more; so a layer
is left alone whose result reaches, through operators that keep zero at zero, a pole or step at zero
(Div by it, Log, Sqrt, comparisons, ArgMax, Ceil, ...) or a factor above 2^32. Infinite inputs: 0 *
infinity is NaN where a denormal gave infinity.
Skips: weights with another reader that is no weight operand, or that are visible outside; single
numbers, which are thresholds and epsilons; float16, whose denormals are not negligible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import producer, redirect_readers
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

# Operands that are only multiplied by something or added to something. Variances are neither.
_WEIGHT_OPERANDS = {
    "Add": (0, 1),
    "BatchNormalization": (1, 2, 3),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "GRU": (1, 2, 3),
    "LSTM": (1, 2, 3),
    "MatMul": (0, 1),
    "Mul": (0, 1),
    "PRelu": (1,),
    "RNN": (1, 2, 3),
    "Sub": (0, 1),
}
# Zero in, zero out: a tiny value comes out as one.
_KEEPING_ZERO = frozenset(
    {
        "Abs",
        "AveragePool",
        "Cast",
        "Celu",
        "Clip",
        "Concat",
        "DepthToSpace",
        "Dropout",
        "Elu",
        "Erf",
        "Expand",
        "Flatten",
        "Gather",
        "Gelu",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "Mish",
        "Mul",
        "Neg",
        "PRelu",
        "Pad",
        "ReduceL1",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Selu",
        "Slice",
        "Softsign",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Swish",
        "Tanh",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
# A pole or a step at zero, or a slope without bound.
_SEEING_ZERO = frozenset(
    {
        "ArgMax",
        "ArgMin",
        "Ceil",
        "Equal",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "Hardmax",
        "Less",
        "LessOrEqual",
        "Log",
        "LpNormalization",
        "Mod",
        "NonZero",
        "Reciprocal",
        "Sign",
        "Sqrt",
        "TopK",
    }
)
_NORMALIZING = ("GroupNormalization", "InstanceNormalization", "LayerNormalization")
_LARGEST_FACTOR = 2.0**32
_DEFAULT_EPSILON = 1e-5
_BLOCK = 2**16
# Per float type: its bits as integers, and those of the largest denormal number.
_BITS: dict[np.dtype[Any], tuple[type[np.unsignedinteger[Any]], int]] = {
    np.dtype(np.float32): (np.uint32, 2**23 - 1),
    np.dtype(np.float64): (np.uint64, 2**52 - 1),
}


@dataclass(frozen=True)
class _Flush(Match):
    """The layers that read the weight, and the weight."""

    weight: gs.Tensor


def find(view: View) -> Iterator[Match | Skip]:
    """Every weight with denormals, once."""
    seen: set[int] = set()
    for node in view.graph.nodes:
        if not is_op(node, *_WEIGHT_OPERANDS):
            continue
        for index in _WEIGHT_OPERANDS[node.op]:
            weight = node.inputs[index] if index < len(node.inputs) else None
            if weight is None or id(weight) in seen:
                continue
            seen.add(id(weight))
            value = constant_value(weight)
            if value is None or not has_denormals(value):
                continue
            reason = _refusal(view, weight)
            nodes = tuple({id(reader): reader for reader in weight.outputs}.values())
            yield Skip(nodes, reason) if reason else _Flush(nodes, weight)


def apply(view: View, match: Match) -> None:
    """Exchange the weight for one without denormals, in all its readers."""
    assert isinstance(match, _Flush)
    value = constant_value(match.weight)
    assert value is not None, "find() read it"
    flushed = np.where(_is_denormal(value), value.dtype.type(0), value)
    maker = producer(match.weight)
    if maker is None:
        new = gs.Constant(match.weight.name, flushed)  # all readers are changed: the name is free
    else:
        new = view.constant(f"{match.weight.name}.flushed", flushed)
    redirect_readers(match.weight, new)
    if maker is not None:
        disconnect(maker)


def has_denormals(value: np.ndarray) -> bool:
    """Whether a float32 or float64 array of more than one element holds any denormal number.

    Blocks are looked at in one small buffer: nothing the size of the array is made.

    >>> has_denormals(np.array([0, 1], np.float32)), has_denormals(np.array([1, 1e-40], np.float32))
    (False, True)
    """
    if value.dtype not in _BITS or value.size < 2:
        return False
    integer, largest = _BITS[value.dtype]
    bits = np.ascontiguousarray(value).reshape(-1).view(integer)
    buffer = np.empty(min(_BLOCK, bits.size), integer)
    for start in range(0, bits.size, _BLOCK):
        block = bits[start : start + _BLOCK]
        magnitude = buffer[: block.size]
        np.left_shift(block, 1, out=magnitude)  # the sign goes
        np.subtract(magnitude, 1, out=magnitude)  # zero becomes the largest of all
        if magnitude.min() < 2 * largest:
            return True
    return False


def _is_denormal(value: np.ndarray) -> np.ndarray:
    result: np.ndarray = (value != 0) & (np.abs(value) < np.finfo(value.dtype).smallest_normal)
    return result


def _refusal(view: View, weight: gs.Tensor) -> str | None:
    if weight.name in view.fixed:
        return "the weight is visible outside"
    layers = list({id(reader): reader for reader in weight.outputs}.values())
    for layer in layers:
        operands = _WEIGHT_OPERANDS.get(layer.op, ()) if is_op(layer, layer.op) else ()
        positions = [i for i, tensor in enumerate(layer.inputs) if tensor is weight]
        if any(position not in operands for position in positions):
            return f"{layer.op} reads the weight, and may depend on how small it is"
        if is_op(layer, "Gemm") and abs(layer.attrs.get("alpha", 1.0)) > _LARGEST_FACTOR:
            return "Gemm multiplies its result by a huge number"
        if is_op(layer, "BatchNormalization") and _amplifies(layer):
            return "BatchNormalization with next to no epsilon"
    return _beyond(layers)


def _beyond(layers: list[gs.Node]) -> str | None:
    """Who may tell a tiny result of these layers from zero; None if nobody does."""
    waiting, seen = list(layers), {id(layer) for layer in layers}
    for node in waiting:
        for tensor in node.outputs:
            for reader in tensor.outputs:
                if _is_seeing_zero(reader, tensor):
                    return f"{reader.op} of its result may tell tiny from nothing"
                if id(reader) not in seen and is_op(reader, *_KEEPING_ZERO):
                    seen.add(id(reader))
                    waiting.append(reader)
    return None


def _is_seeing_zero(reader: gs.Node, tensor: gs.Tensor) -> bool:
    if not is_op(reader, reader.op) or is_op(reader, *_SEEING_ZERO):
        return True
    if is_op(reader, *_NORMALIZING):
        return _amplifies(reader)
    if is_op(reader, "Cast"):
        return bool(reader.attrs["to"] == onnx.TensorProto.BOOL)
    if is_op(reader, "Pow"):
        power = constant_value(reader.inputs[1])
        return power is None or bool((power < 1).any())
    if is_op(reader, "Div"):
        if reader.inputs[1] is tensor:
            return True
        divisor = constant_value(reader.inputs[1])
        return divisor is not None and bool((np.abs(divisor) < 1 / _LARGEST_FACTOR).any())
    if is_op(reader, "Mul"):
        factors = [constant_value(t) for t in reader.inputs if t is not tensor]
        return any(f is not None and bool((np.abs(f) > _LARGEST_FACTOR).any()) for f in factors)
    return False


def _amplifies(normalization: gs.Node) -> bool:
    epsilon = normalization.attrs.get("epsilon", _DEFAULT_EPSILON)
    return bool(epsilon < _LARGEST_FACTOR**-2)


RULE = Rule("flush_denormals", Safety.EXACT, find, apply)
