"""Which axis of a tensor holds channels, and where operators that only move elements take it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.reading import setting
from autogo_onnx.rewriters.view import View

_CARRIERS = ("Transpose", "Unsqueeze", "Squeeze", "Reshape", "Flatten")


@dataclass(frozen=True)
class Channels:
    """The channel axis of a tensor.

    Attributes:
        size: number of channels.
        after: how many axes follow that one.
        rank: of the tensor; None when it is not proven.
    """

    size: int
    after: int
    rank: int | None

    def vector(self, values: np.ndarray) -> np.ndarray | None:
        """float64[size] if `values`, broadcast to the tensor, vary along the channels alone.

        None also where they would enlarge the tensor.

        >>> Channels(size=2, after=2, rank=4).vector(np.ones((2, 1, 1)))
        array([1., 1.])
        """
        rank = self.after + 1 if self.rank is None else self.rank
        if values.ndim > rank:
            return None
        axis = rank - 1 - self.after
        full = (1,) * (rank - values.ndim) + values.shape
        if any(dim != 1 for a, dim in enumerate(full) if a != axis):
            return None
        if full[axis] not in (1, self.size):
            return None
        return np.broadcast_to(values.astype(np.float64).reshape(-1), (self.size,))


def moves(node: gs.Node) -> bool:
    """Whether the operator hands on every element of its first input and changes none."""
    return is_op(node, *_CARRIERS)


def moved(view: View, node: gs.Node, channels: Channels) -> Channels | None:
    """The channels after a node that moves elements; None where they are no longer one axis."""
    if channels.rank is None:
        return None
    axis = moved_axis(view, node, channels.rank, channels.rank - 1 - channels.after)
    rank = moved_rank(view, node, channels.rank)
    if axis is None or rank is None:
        return None
    return Channels(channels.size, rank - 1 - axis, rank)


def moved_rank(view: View, node: gs.Node, rank: int) -> int | None:
    """Rank of the result of a node that moves elements."""
    if is_op(node, "Transpose"):
        return rank
    axes = setting(node, "axes", 1)
    if is_op(node, "Unsqueeze", "Squeeze") and axes is not None:
        return rank + axes.size if node.op == "Unsqueeze" else rank - axes.size
    shape = view.shape(node.outputs[0])
    return None if shape is None else len(shape)


def moved_axis(view: View, node: gs.Node, rank: int, axis: int) -> int | None:
    """Where axis number `axis` is afterwards; None where it does not stay one axis."""
    if is_op(node, "Transpose"):
        perm = [int(a) for a in node.attrs.get("perm", range(rank)[::-1])]
        return perm.index(axis) if len(perm) == rank else None
    if is_op(node, "Unsqueeze", "Squeeze"):
        axes = setting(node, "axes", 1)
        if axes is None:
            return None
        opening = is_op(node, "Unsqueeze")
        larger = rank + axes.size if opening else rank
        others = [a for a in range(larger) if a not in {int(b) % larger for b in axes.reshape(-1)}]
        if opening:
            return others[axis]
        return others.index(axis) if axis in others else None
    return _same_axis(view.shape(node.inputs[0]), view.shape(node.outputs[0]), axis)


def _same_axis(
    before: tuple[int | None, ...] | None, after: tuple[int | None, ...] | None, axis: int
) -> int | None:
    """The axis of `after` with the size and stride of one of `before`, in row-major order."""
    if before is None or after is None or before[axis] in (None, 1):
        return None
    stride = _product(before[axis + 1 :])
    for found, size in enumerate(after):
        if size == before[axis] and stride is not None and _product(after[found + 1 :]) == stride:
            return found
    return None


def _product(dims: tuple[int | None, ...]) -> int | None:
    known = [d for d in dims if d is not None]
    return math.prod(known) if len(known) == len(dims) else None
