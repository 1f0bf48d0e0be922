"""Conv, ConvTranspose, Gemm and MatMul as one thing: a layer that absorbs maps of its channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.layout import Channels
from autogo_onnx.rewriters.patterns.reading import operand
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class Weights:
    """New weights of a layer.

    Attributes:
        weight: in the layout of the layer.
        bias: [output channels]; None for a MatMul, which has none, and for a layer that needs none.
    """

    weight: np.ndarray
    bias: np.ndarray | None


def is_linear(node: gs.Node) -> bool:
    """Whether the operator has output channels that an affine map folds into."""
    if is_op(node, "MatMul"):
        weight = constant_value(node.inputs[1])
        return weight is not None and weight.ndim == 2
    return is_op(node, "Conv", "ConvTranspose", "Gemm")


def refusal(node: gs.Node) -> str | None:
    """Why nothing can be folded into a linear node; None when it can."""
    weight = constant_value(node.inputs[1])
    bias = operand(node, 2)
    if weight is None:
        return f"the weight of {node.op} is not constant"
    if not weight.size:
        return f"the weight of {node.op} is empty"
    if weight.dtype not in (np.float32, np.float64):
        return f"weights in {weight.dtype} may overflow when scaled"
    if bias is None:
        return None
    value = constant_value(bias)
    if value is None:
        return f"the bias of {node.op} is not constant"
    if value.size not in (1, channels(node)) or value.shape[-1:] not in ((), (value.size,)):
        return f"the bias of {node.op} differs within a channel"
    return None


def weight_of(node: gs.Node) -> np.ndarray:
    """The weight of a linear node without `refusal`, to be read only."""
    weight = constant_value(node.inputs[1])
    assert weight is not None, "refusal() was asked first"
    return weight


def bias_of(node: gs.Node) -> np.ndarray:
    """float64[output channels] of a linear node without `refusal`; zeros where it has none."""
    bias = np.zeros(channels(node))
    if operand(node, 2) is not None:
        value = constant_value(node.inputs[2])
        assert value is not None, "refusal() was asked first"
        bias = bias + value.astype(np.float64).reshape(-1) * node.attrs.get("beta", 1.0)
    return bias


def channels(node: gs.Node) -> int:
    """Number of output channels."""
    shape: tuple[int, ...] = weight_of(node).shape
    if node.op == "Conv":
        return shape[0]
    if node.op == "ConvTranspose":
        return shape[1] * groups(node)
    return shape[0] if node.attrs.get("transB", 0) else shape[1]


def groups(node: gs.Node) -> int:
    """Number of groups of a convolution; 1 for other layers."""
    return int(node.attrs.get("group", 1))


def is_convolution(node: gs.Node) -> bool:
    """Whether the channels are axis 1 and the weight has spatial axes."""
    return is_op(node, "Conv", "ConvTranspose")


def output_channels(view: View, node: gs.Node) -> Channels:
    """The channels of what a linear node without `refusal` computes."""
    size, rank = channels(node), weight_of(node).ndim
    if is_convolution(node):
        return Channels(size, rank - 2, rank)
    return Channels(size, 0, 2 if is_op(node, "Gemm") else _rank(view, node))


def input_channels(view: View, node: gs.Node) -> Channels | None:
    """The channels that a linear node without `refusal` sums over; None where it is transposed."""
    weight = weight_of(node)
    if is_convolution(node):
        size = weight.shape[1] * groups(node) if node.op == "Conv" else weight.shape[0]
        return Channels(size, weight.ndim - 2, weight.ndim)
    if node.attrs.get("transA", 0):
        return None
    size = weight.shape[1] if node.attrs.get("transB", 0) else weight.shape[0]
    return Channels(size, 0, 2 if is_op(node, "Gemm") else _rank(view, node))


def pads(node: gs.Node) -> bool:
    """Whether some outputs sum over zeros from outside the input, or over fewer kernel taps."""
    if not is_convolution(node):
        return False
    if all(size == 1 for size in weight_of(node).shape[2:]):
        if node.op == "ConvTranspose" and (
            "output_shape" in node.attrs or any(s != 1 for s in node.attrs.get("strides", ()))
        ):
            return True
        return any(node.attrs.get("pads", ())) or any(node.attrs.get("output_padding", ()))
    return (
        node.op == "ConvTranspose"
        or any(node.attrs.get("pads", ()))
        or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    )


def mapped_after(node: gs.Node, scale: np.ndarray, shift: np.ndarray) -> Weights | str:
    """Weights of `scale * layer(x) + shift`, or why there are none.

    Args:
        node: without `refusal`.
        scale, shift: float64[output channels].
    """
    weight = weight_of(node)
    scaled = weight.astype(np.float64) * _along_output(node, weight, scale)
    return rounded(scaled, bias_of(node) * scale + shift, weight.dtype)


def mapped_before(node: gs.Node, scale: np.ndarray, shift: np.ndarray) -> Weights | str:
    """Weights of `layer(scale * x + shift)`, or why there are none.

    Args:
        node: without `refusal`, and one that does not pad unless the shift is zero.
        scale, shift: float64[input channels].
    """
    weight = weight_of(node)
    exact = weight.astype(np.float64)
    added = _summed(node, exact, shift) * node.attrs.get("alpha", 1.0)
    return rounded(exact * _along_input(node, weight, scale), bias_of(node) + added, weight.dtype)


def rounded(weight: np.ndarray, bias: np.ndarray, dtype: np.dtype) -> Weights | str:
    """Weights from float64, rounded once, or why they cannot be."""
    with np.errstate(over="ignore"):
        new_weight, new_bias = weight.astype(dtype), bias.astype(dtype)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return f"the scaled weights overflow {dtype}"
    return Weights(new_weight, new_bias)


def set_weights(view: View, node: gs.Node, weights: Weights) -> None:
    """Give a layer new weights; a bias that is none or zeros is not added where there was none."""
    set_constant(view, node, 1, weights.weight, "weight")
    if is_op(node, "MatMul") or weights.bias is None:
        return
    node.attrs.pop("beta", None)
    if operand(node, 2) is not None or weights.bias.any():
        set_constant(view, node, 2, weights.bias, "bias")


def set_constant(view: View, node: gs.Node, index: int, value: np.ndarray, role: str) -> None:
    """Give input `index` a new constant value; an initializer of its own keeps its name."""
    old = operand(node, index)
    own = isinstance(old, gs.Constant) and len(old.outputs) == 1 and old.name not in view.fixed
    if old is not None and own:
        constant = gs.Constant(old.name, np.ascontiguousarray(value))
    else:
        constant = view.constant(f"{node.outputs[0].name}.folded_{role}", value)
    while len(node.inputs) <= index:
        node.inputs.append(gs.Variable.empty())
    node.inputs[index] = constant


def _rank(view: View, node: gs.Node) -> int | None:
    shape = view.shape(node.inputs[0])
    return None if shape is None else len(shape)


def _along_output(node: gs.Node, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The scale, shaped to multiply the weight."""
    spatial = (1,) * (weight.ndim - 2)
    if node.op == "Conv":
        return scale.reshape(-1, 1, *spatial)
    if not is_convolution(node):
        return scale.reshape(-1, 1) if node.attrs.get("transB", 0) else scale.reshape(1, -1)
    # ConvTranspose weights are [C_in, C_out/group, ...]: rows of one group share its C_out/group.
    per_group = scale.reshape(groups(node), 1, -1)
    per_group = per_group.repeat(weight.shape[0] // groups(node), axis=1)
    return per_group.reshape(weight.shape[0], -1, *spatial)


def _along_input(node: gs.Node, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The scale, shaped to multiply the weight."""
    spatial = (1,) * (weight.ndim - 2)
    if node.op == "ConvTranspose":
        return scale.reshape(-1, 1, *spatial)
    if node.op == "Conv":
        # Conv weights are [C_out, C_in/group, ...]: rows of one group share its C_in/group.
        per_group = scale.reshape(groups(node), 1, -1)
        per_group = per_group.repeat(weight.shape[0] // groups(node), axis=1)
        return per_group.reshape(weight.shape[0], -1, *spatial)
    return scale.reshape(1, -1) if node.attrs.get("transB", 0) else scale.reshape(-1, 1)


def _summed(node: gs.Node, weight: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """float64[output channels]: what the layer, without its bias, makes of constant channels."""
    products: np.ndarray = weight * _along_input(node, weight, shift)
    if node.op == "ConvTranspose":  # only ever asked for one tap per output
        products = products.reshape(groups(node), -1, weight.shape[1]).swapaxes(1, 2)
        products = products.reshape(groups(node) * weight.shape[1], -1)
    elif not is_convolution(node) and not node.attrs.get("transB", 0):
        products = products.T
    sums: np.ndarray = products.reshape(len(products), -1).sum(axis=1)
    return sums
