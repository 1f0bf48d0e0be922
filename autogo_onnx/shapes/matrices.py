"""Products of matrices: with a weight (Gemm, MatMul of one operand) or of two tensors."""

from __future__ import annotations

from functools import partial

from autogo_onnx.opgraph import Op
from autogo_onnx.shapes.structure import Relation, Structure, Unknown
from autogo_onnx.shapes.windows import Size


def gemm(found: Structure, index: int, op: Op) -> None:
    """Chooses its width."""
    if len(op.inputs) != 1:
        raise Unknown("computed weights")
    found.sizes.merge((op.inputs[0], found.out(index)))
    found.choosers.append(index)


def product(found: Structure, index: int, op: Op) -> None:
    """With a weight it chooses its width, the last axis; without, it contracts two tensors."""
    graph, out = found.graph, found.out(index)
    if len(op.inputs) == 2:
        _contraction(found, index, *op.inputs)
        return
    given, made = graph.shape(op.inputs[0]), graph.shape(out)
    last = (len(given) - 1, len(made) - 1)
    if given[:-1] != made[:-1] or (found.layout[op.inputs[0]], found.layout[out]) != last:
        raise Unknown("a weight that is not multiplied from the right")
    found.sizes.merge((op.inputs[0], out))
    found.choosers.append(index)


def _contraction(found: Structure, index: int, left: int, right: int) -> None:
    """The axes that are tied together are all sizes, or all channels."""
    out = found.out(index)
    rank = len(found.graph.shape(out))
    axes = (found.layout[left], found.layout[right], found.layout[out])
    channels = {
        (rank - 1, rank - 2, None): (left, right),
        (None, rank - 1, rank - 1): (right, out),
        (rank - 2, None, rank - 2): (left, out),
        (None, None, None): (),
    }
    shared = all(axis == axes[0] for axis in axes) and axes[0] in range(1, rank - 2)
    if not shared and axes not in channels:
        raise Unknown("a product over axes some of which are channels")
    found.widths.merge((left, right, out) if shared else channels[axes] or (out,))
    lengths = tuple(None if axis is None else axis - 1 for axis in axes)
    found.relations[index] = Relation((left, right), partial(_contracted, lengths))


def _contracted(channels: tuple[int | None, ...], sizes: tuple[Size, ...]) -> Size | None:
    """The size of a product, from those of its operands.

    Args:
        channels: where the channels stand in left, right and output, batch not counted.
        sizes: of both operands, without their channels; a width is counted as length 0.
    """
    left, right = (
        size if at is None else (*size[:at], 0, *size[at:])
        for size, at in zip(sizes, channels, strict=False)
    )
    if left[:-2] != right[:-2] or left[-1] != right[-2]:
        return None
    made = (*left[:-1], right[-1])
    return tuple(n for place, n in enumerate(made) if place != channels[2])
