"""Nodes that compute `scale * x + shift` with constants: Mul, Add, Sub, Div, Neg, inference BN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value, is_constant
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.reading import another_reader, other_outputs_used, producer
from autogo_onnx.rewriters.view import View

ARITHMETIC = ("Mul", "Add", "Sub", "Div", "Neg")
"""Affine operators other than BatchNormalization."""
NORM = "BatchNormalization"
KINDS = (*ARITHMETIC, NORM)

_INFERENCE_BY_DEFAULT = 7
_EPSILON = 1e-5  # the ONNX default
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
# From here on a shift is as good as a request to round: `(x + 2**23) - 2**23` in float32.
_COARSEST = 0.125
_ONE, _ZERO = np.ones(()), np.zeros(())
_GATES = ("Erf", "Tanh", "Clip", "Sqrt", "Reciprocal")
_GATE_ARITHMETIC = ("Add", "Mul", "Div")
_GATE_DEPTH = 3
_POWERS = ("Pow", "Sub")


@dataclass(frozen=True)
class Affine:
    """`y = scale * x + shift`, in float64 arrays that broadcast to x (or per channel)."""

    scale: np.ndarray
    shift: np.ndarray

    def then(self, outer: Affine) -> Affine:
        """This map first, another one on its result.

        >>> both = Affine(np.array(2.0), np.array(1.0)).then(Affine(np.array(3.0), np.array(0.0)))
        >>> float(both.scale), float(both.shift)
        (6.0, 3.0)
        """
        return Affine(outer.scale * self.scale, outer.scale * self.shift + outer.shift)


def affine_source(node: gs.Node, kinds: tuple[str, ...]) -> gs.Tensor | None:
    """The tensor of floats that a node of these kinds maps by constants; None for other nodes."""
    if not is_op(node, *kinds):
        return None
    if len(node.inputs) != 2:
        return node.inputs[0]
    constant = [is_constant(tensor) for tensor in node.inputs]
    if sum(constant) != 1:
        return None
    side = constant.index(False)
    # constant / x is not affine
    if (side == 1 and node.op == "Div") or _is_whole(node.inputs[1 - side]):
        return None
    return node.inputs[side]


def _is_whole(constant: gs.Tensor) -> bool:
    """Whether a constant is of integers: those are sizes, and their arithmetic is not ours."""
    dtype = constant.dtype
    if not isinstance(constant, gs.Constant):
        dtype = getattr(constant_value(constant), "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind in "iub"


def read_affine(view: View, node: gs.Node, rank: int | None) -> Affine | str:
    """The map of a node that has an `affine_source`, or why it is not used.

    Args:
        view: the graph.
        node: of one of the kinds above.
        rank: of its source, None when unproven.
    """
    affine = _norm(view, node, rank) if is_op(node, NORM) else _arithmetic(node)
    if isinstance(affine, str):
        return affine
    if not (np.isfinite(affine.scale).all() and np.isfinite(affine.shift).all()):
        return "a constant is not finite"
    return affine


def _arithmetic(node: gs.Node) -> Affine | str:
    if node.op == "Neg":
        return Affine(-_ONE, _ZERO)
    side = int(is_constant(node.inputs[0]))
    constant = constant_value(node.inputs[1 - side])
    assert constant is not None, "affine_source() was asked first"
    if constant.dtype not in _FLOATS:
        return f"constants in {constant.dtype} are not computed with"
    values = constant.astype(np.float64)
    if node.op in ("Add", "Sub"):
        if (np.abs(values) * np.finfo(constant.dtype).eps >= _COARSEST).any():
            return "a constant is so large that adding it rounds"
        if node.op == "Add":
            return Affine(_ONE, values)
        return Affine(_ONE, -values) if side == 0 else Affine(-_ONE, values)
    if node.op == "Mul":
        return Affine(values, _ZERO)
    return Affine(1 / values, _ZERO) if values.all() else "a division by zero"


def _norm(view: View, norm: gs.Node, rank: int | None) -> Affine | str:
    if trains(view, norm):
        return "BatchNormalization in training mode"
    if not norm.attrs.get("spatial", 1):
        return "BatchNormalization per element (spatial = 0)"
    if rank is None:
        return "the rank is not proven"
    values = [constant_value(tensor) for tensor in norm.inputs[1:5]]
    if any(value is None for value in values):
        return "a parameter of BatchNormalization is not constant"
    if any(value.dtype not in _FLOATS for value in values if value is not None):
        return "parameters in float16 are not computed with"
    scale, shift, mean, variance = (
        np.asarray(value, np.float64).reshape(-1, *(1,) * (rank - 2)) for value in values
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = scale / np.sqrt(variance + epsilon(norm))
        return Affine(factor, shift - mean * factor)


def epsilon(norm: gs.Node) -> float:
    """What a BatchNormalization adds to the variance."""
    return float(norm.attrs.get("epsilon", _EPSILON))


def trains(view: View, norm: gs.Node) -> bool:
    """Whether a BatchNormalization takes its statistics from the batch."""
    training = norm.attrs.get("training_mode", 0) or other_outputs_used(norm, view.fixed)
    if view.opset < _INFERENCE_BY_DEFAULT:
        training = training or not norm.attrs.get("is_test", 0)
    return bool(training)


@dataclass(frozen=True)
class Chain:
    """Affine nodes in a row, first to last, each the only reader of the one before.

    Attributes:
        nodes: at least one.
        source: the tensor that the first of them maps.
        blocked: why an affine node before the first does not belong to it; None if there is none.
    """

    nodes: tuple[gs.Node, ...]
    source: gs.Tensor
    blocked: str | None


def chains(view: View) -> Iterator[Chain]:
    """All chains that are as long as can be."""
    for last in view.graph.nodes:
        source = affine_source(last, KINDS)
        if source is None or _is_continued(view, last):
            continue
        nodes, blocked = [last], None
        while (maker := producer(source)) is not None:
            before = affine_source(maker, KINDS)
            if before is None:
                break
            blocked = another_reader(source, view.fixed)
            if blocked is not None:
                if begins_activation(source):
                    blocked = None  # of course the gated tensor is read by the gate, too
                break
            nodes.insert(0, maker)
            source = before
        yield Chain(tuple(nodes), source, blocked)


def read_chain(view: View, chain: Chain) -> Affine | str:
    """What a chain computes, in arrays that broadcast to its source, or why it is not used."""
    if ends_activation(chain.source):
        return "the constant may belong to an activation or a normalization that is spelled out"
    shape = view.shape(chain.source)
    rank = None if shape is None else len(shape)
    total, largest = Affine(_ONE, _ZERO), 1
    for node in chain.nodes:
        affine = read_affine(view, node, rank)
        if isinstance(affine, str):
            return affine
        largest = max(largest, affine.scale.size, affine.shift.size)
        total = total.then(affine)
        if max(total.scale.size, total.shift.size) > largest:
            return "the constants would be larger together than each alone"
        # A constant with more axes than the source adds axes to it.
        rank = None if rank is None else max(rank, affine.scale.ndim, affine.shift.ndim)
    return total


def chain_dtype(chain: Chain) -> np.dtype | None:
    """The type of a chain's constants; None where it has none."""
    values = (constant_value(tensor) for node in chain.nodes for tensor in node.inputs)
    return next((value.dtype for value in values if value is not None), None)


def ends_activation(tensor: gs.Tensor) -> bool:
    """Whether a tensor looks like a gated input, whose constants others recognize it by.

    `x * (1 + erf(x / sqrt(2))) * 0.5`, `x * clip(x + 3, 0, 6) / 6` and `(x - mean) / sqrt(...) * a`
    are known to ONNX Runtime, and to rules that put one operator in their place.
    """
    maker = producer(tensor)
    if maker is None:
        return False
    if is_op(maker, "Clip"):  # clip(x + 3, 0, 6) / 6
        shifted = producer(maker.inputs[0])
        return shifted is not None and is_op(shifted, "Add")
    if not is_op(maker, "Mul", "Div"):
        return False
    level: list[gs.Node | None] = [maker]
    for _ in range(_GATE_DEPTH):
        level = [producer(t) for node in level if node is not None for t in node.inputs]
        if any(node is not None and is_op(node, *_GATES) for node in level):
            return True
        level = [node for node in level if node is not None and is_op(node, *_GATE_ARITHMETIC)]
    return False


def begins_activation(tensor: gs.Tensor) -> bool:
    """Whether a tensor looks like the input of a gate that is spelled out, as in `x * gate(x)`."""
    level = list(tensor.outputs)
    for _ in range(_GATE_DEPTH + 1):
        if any(is_op(node, *_GATES, "Sigmoid") for node in level):
            return True
        level = [
            reader
            for node in level
            if is_op(node, *_GATE_ARITHMETIC, *_POWERS)
            for reader in node.outputs[0].outputs
        ]
    return False


def _is_continued(view: View, node: gs.Node) -> bool:
    """Whether the node's result vanishes into a further affine node."""
    result = node.outputs[0]
    return (
        another_reader(result, view.fixed) is None
        and len(result.outputs) == 1
        and affine_source(result.outputs[0], KINDS) is result
    )
