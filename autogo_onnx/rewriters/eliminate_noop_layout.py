"""Reshape, Transpose, Expand, Slice, ... that give back what they got -> nothing.

Why: exporters spell operations for the general case (broadcast to the shape it has already, slice
from the beginning to the end, permute a [1, 1, C] tensor); each is a copy of the tensor.
Safety: exact, for every size of the open dimensions: the sizes before and after are proven equal,
and the operator keeps the order of the elements. Tensors declared alike are not enough.
Skips: none; where it is not proven, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.fuse_slices import cuts_of
from autogo_onnx.rewriters.patterns.bypass import bypass, bypassing
from autogo_onnx.rewriters.patterns.reading import setting
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

# No axis is longer, so a slice up to here is a slice to the end.
_END = 2**31 - 1


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        keeps_order = _KEEPS_ORDER.get(node.op)
        if keeps_order is None or not is_op(node, node.op):
            continue
        if keeps_order(view, node):
            yield bypassing(view, node)


def _is_same_size(view: View, node: gs.Node) -> bool:
    before, after = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    if before is None or after is None or len(before) != len(after):
        return False
    if None not in after:
        return before == after
    if any(a != b and None not in (a, b) for a, b in zip(before, after, strict=True)):
        return False
    return view.dimensions.of(node.inputs[0]) == view.dimensions.of(node.outputs[0])


def _transposes_nothing(view: View, node: gs.Node) -> bool:
    perm = node.attrs.get("perm")
    if perm is not None and list(perm) == sorted(perm):
        return True
    shape = view.shape(node.inputs[0])
    if shape is None:
        return False
    order = range(len(shape))[::-1] if perm is None else perm
    moved = [axis for axis in order if shape[axis] != 1]
    # Axes of one element may go anywhere, as long as the shape stays.
    return moved == sorted(moved) and [shape[a] == 1 for a in order] == [d == 1 for d in shape]


def _slices_nothing(view: View, node: gs.Node) -> bool:
    shape = view.shape(node.inputs[0])
    cuts = cuts_of(node, shape)
    if cuts is None or any(cut.start or cut.step != 1 for cut in cuts.values()):
        return False
    sizes = {axis: shape[axis] if shape else None for axis in cuts}
    return all(cut.end >= (sizes[axis] or _END) for axis, cut in cuts.items())


def _tiles_nothing(view: View, node: gs.Node) -> bool:
    repeats = setting(node, "repeats", 1)
    return repeats is not None and bool((repeats == 1).all())


def _gathers_everything(view: View, node: gs.Node) -> bool:
    indices, shape = setting(node, "indices", 1), view.shape(node.inputs[0])
    if indices is None or indices.ndim != 1 or not shape:
        return False
    size = shape[node.attrs.get("axis", 0)]
    return size == indices.size and np.array_equal(indices % size, np.arange(size))


_KEEPS_ORDER: dict[str, Callable[[View, gs.Node], bool]] = {
    **dict.fromkeys(("Expand", "Flatten", "Reshape", "Squeeze", "Unsqueeze"), _is_same_size),
    "Gather": _gathers_everything,
    "Slice": _slices_nothing,
    "Tile": _tiles_nothing,
    "Transpose": _transposes_nothing,
}

RULE = Rule("eliminate_noop_layout", Safety.EXACT, find, bypass)
