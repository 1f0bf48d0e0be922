"""Operators that work position by position along an axis, and where that axis is in their inputs.

One position of such an operator's output depends on the same position of its inputs alone, so
selecting first and computing then gives the same.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.open_dims.open_sizes import constant_target, times
from autogo_onnx.rewriters.patterns.reading import operand, other_outputs_used, setting
from autogo_onnx.rewriters.view import View

Axes = tuple[int | None, ...]
"""Per input: the axis that corresponds to an output's axis; None for an input used as a whole."""

MOVING = frozenset(
    "Cast Concat Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split()
)
"""Those that compute nothing."""

_ELEMENTWISE = tuple(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
    Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid
    HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not
    Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub
    Sum Swish Tan Tanh ThresholdedRelu Where Xor
    """.split()
)
_REDUCTIONS = tuple(
    f"Reduce{name}" for name in "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()
)
_NUMPY_BROADCASTING = 7  # before, operators had attributes of their own for it
_SOFTMAX_OF_ONE_AXIS = 13  # before, it was of all axes from its own on


def input_axes(view: View, node: gs.Node, axis: int, index: int) -> Axes | None:
    """Where the position `index` of axis `axis` of the first output is in every input.

    Args:
        view: of the graph, with proven shapes.
        node: any node.
        axis: of its first output (the same for all outputs of a Split), not negative.
        index: of the position; 0 and -1 are also right for an axis that may turn out to be 1.

    Returns:
        None where the operator is not position-wise along that axis, or where that is not proven.
    """
    if is_op(node, *_ELEMENTWISE):
        return _elementwise(view, node, axis, index) if _broadcasts(view, node) else None
    if is_op(node, "MatMul"):
        return _matmul(view, node, axis, index)
    if is_op(node, "Gemm"):
        return _gemm(view, node, axis, index)
    if is_op(node, "LayerNormalization", "RMSNormalization"):
        return _normalization(view, node, axis, index)
    if is_op(node, "BatchNormalization"):
        return _batch_normalization(view, node, axis)
    if is_op(node, "Softmax", "LogSoftmax"):
        return _softmax(view, node, axis)
    if is_op(node, *_REDUCTIONS):
        return _reduction(view, node, axis)
    if is_op(node, "Concat"):
        rank = _rank(view, node.outputs[0])
        same = rank is None or axis == node.attrs["axis"] % rank
        return None if same else (axis,) * len(node.inputs)
    own = _moved(view, node, axis)
    return None if own is None else (own, *(None for _ in node.inputs[1:]))


def selected_target(view: View, node: gs.Node, axis: int) -> np.ndarray | None:
    """The target of a Reshape once its output has length 1 along an axis.

    Returns:
        int64[rank]; None where the axis is not carried over, or no constant does it.
    """
    own = _kept_axis(view, node, axis)
    before, after = view.dimensions.of(node.inputs[0]), view.dimensions.of(node.outputs[0])
    if own is None or before is None or after is None:
        return None
    source, result = (
        (*sizes[:at], 1, *sizes[at + 1 :]) for sizes, at in ((before, own), (after, axis))
    )
    target = constant_target(source, result, frozenset())
    return None if target is None else np.array(target, np.int64)


def _broadcasts(view: View, node: gs.Node) -> bool:
    return view.opset >= _NUMPY_BROADCASTING or len(node.inputs) == 1


def _elementwise(view: View, node: gs.Node, axis: int, index: int) -> Axes | None:
    rank = _rank(view, node.outputs[0])
    return None if rank is None else _broadcast(view, node.inputs, axis - rank, index)


def _broadcast(view: View, tensors: list[gs.Tensor], axis: int, index: int) -> Axes | None:
    """Axis by axis from the right, where operands of length 1 are repeated."""
    axes: list[int | None] = []
    for tensor in tensors:
        shape = () if tensor.is_empty() else view.shape(tensor)
        if shape is None:
            return None
        own = axis + len(shape)
        if own < 0 or shape[own] == 1:
            axes.append(None)
        elif shape[own] is None and index not in (0, -1):
            return None
        else:
            axes.append(own)
    return tuple(axes) if any(own is not None for own in axes) else None


def _matmul(view: View, node: gs.Node, axis: int, index: int) -> Axes | None:
    rank, ranks = _rank(view, node.outputs[0]), [_rank(view, t) for t in node.inputs]
    if rank is None or any(r is None or r < 2 for r in ranks):
        return None
    axis -= rank
    if axis == -1:
        return None
    if axis == -2:
        return (ranks[0] - 2, None) if ranks[0] is not None else None
    return _broadcast(view, node.inputs, axis, index)


def _gemm(view: View, node: gs.Node, axis: int, index: int) -> Axes | None:
    if axis != 0 or view.opset < _NUMPY_BROADCASTING:
        return None
    addend = operand(node, 2)
    rows: Axes | None = (None,)
    if addend is not None:
        shape = view.shape(addend)
        if shape is None:
            return None
        is_row = len(shape) == 2 and shape[0] != 1
        rows = _broadcast(view, [addend], -2, index) if is_row else (None,)
    if rows is None:
        return None
    return (1 if node.attrs.get("transA", 0) else 0, None, *rows)[: len(node.inputs)]


def _normalization(view: View, node: gs.Node, axis: int, index: int) -> Axes | None:
    rank = _rank(view, node.outputs[0])
    if rank is None or other_outputs_used(node, view.fixed):
        return None
    if axis >= node.attrs.get("axis", -1) % rank:
        return None
    return _broadcast(view, node.inputs, axis - rank, index)


def _batch_normalization(view: View, node: gs.Node, axis: int) -> Axes | None:
    if view.opset < _NUMPY_BROADCASTING or other_outputs_used(node, view.fixed):
        return None
    is_channel = axis == 1 or node.attrs.get("training_mode", 0)
    per_element = not node.attrs.get("spatial", 1)
    return None if is_channel or per_element else (axis, None, None, None, None)


def _softmax(view: View, node: gs.Node, axis: int) -> Axes | None:
    rank = _rank(view, node.outputs[0])
    if rank is None:
        return None
    if view.opset >= _SOFTMAX_OF_ONE_AXIS:
        return None if axis == node.attrs.get("axis", -1) % rank else (axis,)
    return None if axis >= node.attrs.get("axis", 1) % rank else (axis,)


def _reduction(view: View, node: gs.Node, axis: int) -> Axes | None:
    rank, axes = _rank(view, node.inputs[0]), setting(node, "axes", 1)
    if rank is None or axes is None or not axes.size:
        return None
    reduced = sorted({int(a) % rank for a in axes.reshape(-1)})
    if not node.attrs.get("keepdims", 1):
        axis = _inserted(axis, reduced)
    return None if axis in reduced else (axis, *(None for _ in node.inputs[1:]))


def _moved(view: View, node: gs.Node, axis: int) -> int | None:
    """The axis of the first input, for operators that rearrange it."""
    rank = _rank(view, node.inputs[0]) if node.inputs else None
    if rank is None:
        return None
    if is_op(node, "Transpose"):
        perm: list[int] = node.attrs.get("perm", list(range(rank))[::-1])
        return perm[axis]
    if is_op(node, "Reshape"):
        has_target = selected_target(view, node, axis) is not None
        return _kept_axis(view, node, axis) if has_target else None
    if is_op(node, "Flatten"):
        return 0 if axis == 0 and node.attrs.get("axis", 1) % rank == 1 else None
    if is_op(node, "Split"):
        return None if axis == node.attrs.get("axis", 0) % rank else axis
    if is_op(node, "Squeeze", "Unsqueeze"):
        return _squeezed(node, rank, axis)
    if is_op(node, "Gather"):
        return _gathered(view, node, rank, axis)
    if is_op(node, "Slice"):
        axes = setting(node, "axes", 3)
        if axes is None:
            return None
        return None if axis in {int(a) % rank for a in axes.reshape(-1)} else axis
    return None


def _squeezed(node: gs.Node, rank: int, axis: int) -> int | None:
    axes = setting(node, "axes", 1)
    if axes is None:
        return None
    if is_op(node, "Squeeze"):
        return _inserted(axis, sorted(int(a) % rank for a in axes.reshape(-1)))
    added = {int(a) % (rank + axes.size) for a in axes.reshape(-1)}
    return None if axis in added else axis - sum(a < axis for a in added)


def _gathered(view: View, node: gs.Node, rank: int, axis: int) -> int | None:
    indices, along = _rank(view, node.inputs[1]), node.attrs.get("axis", 0) % rank
    if indices is None:
        return None
    if axis < along:
        return axis
    return axis - indices + 1 if axis >= along + indices else None


def _inserted(axis: int, removed: list[int]) -> int:
    """An axis of the result as an axis of the operand, of which some axes were removed."""
    for gone in removed:
        axis += gone <= axis
    return axis


def _kept_axis(view: View, node: gs.Node, axis: int) -> int | None:
    """The axis that a Reshape carries over to `axis`: same length, as many elements around it."""
    before, after = view.dimensions.of(node.inputs[0]), view.dimensions.of(node.outputs[0])
    if before is None or after is None:
        return None
    for own, size in enumerate(before):
        around = times(before[:own]), times(before[own + 1 :])
        if size == after[axis] and around == (times(after[:axis]), times(after[axis + 1 :])):
            return own
    return None


def _rank(view: View, tensor: gs.Tensor) -> int | None:
    shape = view.shape(tensor)
    return None if shape is None else len(shape)
