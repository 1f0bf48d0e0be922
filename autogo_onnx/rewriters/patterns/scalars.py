"""Arithmetic with single numbers: which nodes scale and shift a tensor, and what polynomial it is.

Constants are read in float64 and compared with room for the rounding of float32 and float16.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.view import View

# Two roundings of float32, as in 1 / float32(6).
_RELATIVE = 2.0**-22
_HALF_RELATIVE = 2.0**-10
_HIGHEST_DEGREE = 3
_LONGEST = 12


@dataclass(frozen=True)
class Scaled:
    """A node that computes `scale * source + shift` for two numbers."""

    source: gs.Tensor
    scale: float
    shift: float


@dataclass(frozen=True)
class Polynomial:
    """What a tensor is in terms of another: coefficients from the constant upwards.

    Attributes:
        coefficients: of x^0, x^1, ..., without trailing zeros.
        nodes: those that compute it, each once.
    """

    coefficients: tuple[float, ...]
    nodes: tuple[gs.Node, ...]


def is_close(value: float, wanted: float, *, half: bool = False) -> bool:
    """Whether a constant is the wanted number, but for the rounding of its type."""
    return abs(value - wanted) <= (_HALF_RELATIVE if half else _RELATIVE) * abs(wanted)


def number(view: View, tensor: gs.Tensor, beside: gs.Tensor) -> float | None:
    """The value of a constant that broadcasts to the shape of the other operand; else None.

    A constant of shape [1, 1] would make a vector a matrix, so its rank must be proven harmless.
    """
    value = constant_value(tensor)
    if value is None or value.size != 1 or value.dtype.kind != "f":
        return None
    if value.ndim:
        shape = view.shape(beside)
        if shape is None or value.ndim > len(shape):
            return None
    found = float(value.reshape(()))
    return found if np.isfinite(found) else None


def scaled(view: View, node: gs.Node) -> Scaled | None:
    """The node as scale and shift of its one variable operand; None where it is none."""
    if is_op(node, "Neg"):
        return Scaled(node.inputs[0], -1.0, 0.0)
    if not is_op(node, "Add", "Sub", "Mul", "Div"):
        return None
    for side in (0, 1):
        source = node.inputs[side]
        value = number(view, node.inputs[1 - side], source)
        if value is None:
            continue
        if node.op == "Add":
            return Scaled(source, 1.0, value)
        if node.op == "Mul":
            return Scaled(source, value, 0.0)
        if node.op == "Sub":
            return Scaled(source, 1.0, -value) if side == 0 else Scaled(source, -1.0, value)
        return Scaled(source, 1 / value, 0.0) if side == 0 and value else None
    return None


def is_only_read_within(nodes: Iterable[gs.Node], view: View) -> bool:
    """Whether nobody but these nodes reads what they make, but for the last node's outputs."""
    *inner, last = nodes
    known = {id(last), *map(id, inner)}
    made = [tensor for node in inner for tensor in node.outputs]
    return all(
        tensor.name not in view.fixed and all(id(reader) in known for reader in tensor.outputs)
        for tensor in made
    )


def is_double(view: View, *tensors: gs.Tensor) -> bool:
    """Whether a tensor is float64, whose last bits an attribute in float32 does not hold."""
    return any(view.element_type(t) == onnx.TensorProto.DOUBLE for t in tensors)


def is_half(view: View, tensor: gs.Tensor) -> bool:
    """Whether a tensor is float16, whose constants are rounded to eleven bits."""
    return view.element_type(tensor) == onnx.TensorProto.FLOAT16


def polynomial(view: View, tensor: gs.Tensor, x: gs.Tensor) -> Polynomial | None:
    """`tensor` as a polynomial of `x` of at most third degree; None where it is none."""
    expansion = _Expansion(view, {id(x): np.array([0.0, 1.0])}, {})
    found = expansion.of(tensor)
    if found is None:
        return None
    return Polynomial(tuple(np.trim_zeros(found, "b").tolist()), tuple(expansion.nodes.values()))


@dataclass(frozen=True)
class _Expansion:
    """Tensors as polynomials of one of them, and the nodes that were looked at."""

    view: View
    known: dict[int, np.ndarray | None]
    nodes: dict[int, gs.Node]

    def of(self, tensor: gs.Tensor) -> np.ndarray | None:
        if id(tensor) not in self.known:
            maker = tensor.inputs[0] if len(tensor.inputs) == 1 else None
            far = maker is None or len(self.nodes) >= _LONGEST
            self.known[id(tensor)] = None if far else self._made_by(maker)
        return self.known[id(tensor)]

    def _made_by(self, node: gs.Node) -> np.ndarray | None:
        self.nodes[id(node)] = node
        step = scaled(self.view, node)
        if step is not None:
            inner = self.of(step.source)
            return None if inner is None else _add(step.scale * inner, np.array([step.shift]))
        if is_op(node, "Pow"):
            inner = self.of(node.inputs[0])
            power = number(self.view, node.inputs[1], node.inputs[0])
            return None if inner is None else _power(inner, power)
        if not is_op(node, "Mul", "Add", "Sub"):
            return None
        left, right = self.of(node.inputs[0]), self.of(node.inputs[1])
        if left is None or right is None:
            return None
        if node.op == "Mul":
            return _within_degree(np.convolve(left, right))
        return _add(left, right if node.op == "Add" else -right)


def _add(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    size = max(left.size, right.size)
    both = [np.pad(part, (0, size - part.size)) for part in (left, right)]
    total: np.ndarray = both[0] + both[1]
    return total


def _power(base: np.ndarray, power: float | None) -> np.ndarray | None:
    if power not in (1.0, 2.0, 3.0):
        return None
    result = base
    for _ in range(int(power) - 1):
        result = np.convolve(result, base)
    return _within_degree(result)


def _within_degree(coefficients: np.ndarray) -> np.ndarray | None:
    return coefficients if coefficients.size <= _HIGHEST_DEGREE + 1 else None
