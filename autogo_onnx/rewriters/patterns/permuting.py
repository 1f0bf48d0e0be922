"""Operators that work the same in another order of axes, and how they are written there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.fuse_slices import cuts_of, insert_slice
from autogo_onnx.rewriters.patterns.reading import is_given, operand, setting
from autogo_onnx.rewriters.view import View

_UNARY = frozenset(
    "Abs Acos Acosh Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu"
    " HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round"
    " Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu".split()
)
_BROADCASTING = frozenset(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow"
    " Sub Sum Where Xor".split()
)
_REDUCING = frozenset(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"
    " ReduceSum ReduceSumSquare".split()
)
_SOFTMAX_OF_ONE_AXIS = 13


def inverse(perm: Sequence[int]) -> list[int]:
    """The permutation that undoes another."""
    return [int(axis) for axis in np.argsort(perm)]


def data_inputs(node: gs.Node) -> list[int]:
    """Indices of the inputs whose axes are those of the output, constants left out."""
    if node.op not in _BROADCASTING and node.op != "Concat":
        return [0]
    return [i for i, tensor in enumerate(node.inputs) if constant_value(tensor) is None]


def is_permutable(view: View, node: gs.Node, rank: int) -> bool:
    """Whether the node can work on tensors of that rank with their axes in another order."""
    if not is_op(node, node.op) or not node.inputs:
        return False
    if node.op in _UNARY:
        return constant_value(node.inputs[0]) is None and _has_rank(view, node.inputs[0], rank)
    if node.op in _BROADCASTING or node.op == "Concat":
        indices = data_inputs(node)
        # Bounds of constants are theirs; a computed operand of lower rank has no axes to permute.
        return (
            bool(indices)
            and all(_has_rank(view, node.inputs[i], rank) for i in indices)
            and all(len(t.shape or ()) <= rank for t in node.inputs if isinstance(t, gs.Constant))
            and all(isinstance(t, gs.Constant) for i, t in _others(node, indices))
            and (node.op != "PRelu" or indices == [0])
        )
    if not _has_rank(view, node.inputs[0], rank):
        return False
    if node.op == "Split":
        return True
    if node.op in ("Softmax", "LogSoftmax"):
        return view.opset >= _SOFTMAX_OF_ONE_AXIS
    if node.op in _REDUCING:
        return bool(node.attrs.get("keepdims", 1)) and _reduced_axes(node, rank) is not None
    if node.op == "Pad":
        pads = setting(node, "pads", 1)
        return pads is not None and pads.size == 2 * rank and operand(node, 3) is None
    return node.op == "Slice" and cuts_of(node, view.shape(node.inputs[0])) is not None


def ends_permuted(view: View, node: gs.Node, perm: Sequence[int]) -> bool:
    """Whether the node drops axes so that the result is the same in either order."""
    if not is_op(node, "Squeeze", *_REDUCING) or not _has_rank(view, node.inputs[0], len(perm)):
        return False
    if node.op != "Squeeze" and node.attrs.get("keepdims", 1):
        return False
    axes = _reduced_axes(node, len(perm))
    if not axes:
        return False
    kept = [perm[axis] for axis in range(len(perm)) if axis not in axes]
    return kept == sorted(kept)


def permute(view: View, node: gs.Node, perm: Sequence[int]) -> None:
    """Rewrite attributes and constants for inputs `x` where there were `Transpose(x, perm)`."""
    rank = len(perm)
    if node.op in _BROADCASTING or node.op == "Concat":
        _permute_constants(view, node, perm)
    if node.op in ("Concat", "Split", "Softmax", "LogSoftmax"):
        default = 0 if node.op == "Split" else -1
        node.attrs["axis"] = perm[node.attrs.get("axis", default) % rank]
    elif node.op in _REDUCING or node.op == "Squeeze":
        axes = _reduced_axes(node, rank)
        assert axes is not None, "is_permutable() asked"
        _set_axes(view, node, sorted(perm[axis] for axis in axes))
    elif node.op == "Pad":
        pads = setting(node, "pads", 1)
        assert pads is not None, "is_permutable() asked"
        moved = pads.reshape(2, rank)[:, inverse(perm)].reshape(-1)
        if "pads" in node.attrs:
            node.attrs["pads"] = [int(p) for p in moved]
        else:
            node.inputs[1] = view.constant(f"{node.outputs[0].name}.pads", moved)
    elif node.op == "Slice":
        cuts = cuts_of(node, (None,) * rank)
        assert cuts is not None, "is_permutable() asked"
        source, result = node.inputs[0], node.outputs[0]
        node.inputs.clear()
        node.outputs.clear()
        insert_slice(view, source, {perm[axis]: cut for axis, cut in cuts.items()}, result)


def _others(node: gs.Node, indices: list[int]) -> list[tuple[int, gs.Tensor]]:
    return [(i, tensor) for i, tensor in enumerate(node.inputs) if i not in indices]


def _has_rank(view: View, tensor: gs.Tensor, rank: int) -> bool:
    shape = view.shape(tensor)
    return shape is not None and len(shape) == rank


def _reduced_axes(node: gs.Node, rank: int) -> list[int] | None:
    """The axes, counted from the first; None where they are not constant or simply all."""
    axes = setting(node, "axes", 1)
    if axes is None or axes.size == 0:
        return None
    return sorted(int(axis) % rank for axis in axes.reshape(-1))


def _set_axes(view: View, node: gs.Node, axes: list[int]) -> None:
    if is_given(node, "axes", 1) and "axes" not in node.attrs:
        name = f"{node.outputs[0].name}.axes"
        node.inputs[1] = view.constant(name, np.array(axes, np.int64))
    else:
        node.attrs["axes"] = axes


def _permute_constants(view: View, node: gs.Node, perm: Sequence[int]) -> None:
    for index, tensor in enumerate(node.inputs):
        value = constant_value(tensor)
        if value is None or (value.size == 1 and node.op != "Concat"):
            continue
        full = value.reshape((1,) * (len(perm) - value.ndim) + value.shape)
        stem = f"{tensor.name}.permuted"
        node.inputs[index] = view.constant(stem, full.transpose(inverse(perm)))
