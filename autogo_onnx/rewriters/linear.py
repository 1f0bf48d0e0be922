"""Conv, ConvTranspose and Gemm as one thing: a layer that absorbs a map of its output channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.reading import operand
from autogo_onnx.rewriters.rule import Match, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class Affine:
    """`y = scale * x + shift` per channel, in float64[C]."""

    scale: np.ndarray
    shift: np.ndarray


def is_linear(node: gs.Node) -> bool:
    """Whether the operator has output channels that an affine map folds into."""
    return is_op(node, "Conv", "ConvTranspose", "Gemm")


def refusal(node: gs.Node) -> str | None:
    """Why nothing can be folded into a linear node; None when it can."""
    weight = constant_value(node.inputs[1])
    bias = operand(node, 2)
    if weight is None:
        return f"the weight of {node.op} is not constant"
    if weight.dtype not in (np.float32, np.float64):
        return f"weights in {weight.dtype} may overflow when scaled"
    if bias is None:
        return None
    value = constant_value(bias)
    if value is None:
        return f"the bias of {node.op} is not constant"
    if value.size not in (1, channels(node)) or value.shape[-1:] not in ((), (1,), (value.size,)):
        return f"the bias of {node.op} differs within a channel"
    return None


def channels(node: gs.Node) -> int:
    """Number of output channels."""
    shape: tuple[int, ...] = _weight(node).shape
    if node.op == "Conv":
        return shape[0]
    if node.op == "ConvTranspose":
        return shape[1] * _groups(node)
    return shape[0] if node.attrs.get("transB", 0) else shape[1]


def rank(node: gs.Node) -> int:
    """Rank of the output; the channel axis is 1."""
    return _weight(node).ndim


def absorbing(linear: gs.Node, node: gs.Node, affine: Affine) -> Match | Skip:
    """The match that folds `node`, which computes `affine`, into the layer before it."""
    weight, bias = _weight(linear), np.zeros(channels(linear))
    if operand(linear, 2) is not None:
        value = constant_value(linear.inputs[2])
        assert value is not None, "refusal() was asked first"
        bias = bias + value.astype(np.float64).reshape(-1) * linear.attrs.get("beta", 1.0)
    scaled = weight.astype(np.float64) * _along_output(linear, weight, affine.scale)
    shifted = bias * affine.scale + affine.shift
    with np.errstate(over="ignore"):
        new_weight, new_bias = scaled.astype(weight.dtype), shifted.astype(weight.dtype)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return Skip((linear, node), f"the scaled weights overflow {weight.dtype}")
    return _Absorption((linear, node), new_weight, new_bias)


def absorb(view: View, match: Match) -> None:
    """Apply a match of `absorbing`: the layer gets its new weights and makes the node's output."""
    assert isinstance(match, _Absorption)
    linear, node = match.nodes
    linear.attrs.pop("beta", None)
    _set_constant(view, linear, 1, match.weight, "weight")
    _set_constant(view, linear, 2, match.bias, "bias")
    result = node.outputs[0]
    disconnect(node)
    linear.outputs[0] = result


@dataclass(frozen=True)
class _Absorption(Match):
    """A layer, the node it absorbs, and its weights afterwards."""

    weight: np.ndarray
    bias: np.ndarray


def _groups(node: gs.Node) -> int:
    return int(node.attrs.get("group", 1))


def _weight(node: gs.Node) -> np.ndarray:
    weight = constant_value(node.inputs[1])
    assert weight is not None, "refusal() was asked first"
    return weight


def _set_constant(view: View, node: gs.Node, index: int, value: np.ndarray, role: str) -> None:
    """Give input `index` a new constant value; an initializer of its own keeps its name."""
    old = operand(node, index)
    if isinstance(old, gs.Constant) and len(old.outputs) == 1:
        constant = gs.Constant(old.name, np.ascontiguousarray(value))
    else:
        constant = view.constant(f"{node.outputs[0].name}.folded_{role}", value)
    if index < len(node.inputs):
        node.inputs[index] = constant
    else:
        node.inputs.append(constant)


def _along_output(node: gs.Node, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The scale, shaped to multiply the weight."""
    spatial = (1,) * (weight.ndim - 2)
    if node.op == "Conv":
        return scale.reshape(-1, 1, *spatial)
    if node.op == "Gemm":
        return scale.reshape(-1, 1) if node.attrs.get("transB", 0) else scale.reshape(1, -1)
    # ConvTranspose weights are [C_in, C_out/group, ...]: rows of one group share its C_out/group.
    groups = _groups(node)
    per_group = scale.reshape(groups, 1, -1).repeat(weight.shape[0] // groups, axis=1)
    return per_group.reshape(weight.shape[0], -1, *spatial)
