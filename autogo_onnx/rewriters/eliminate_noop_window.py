"""Pooling by a 1x1 window, Resize by 1, reduction of axes of one element -> nothing.

Why: networks built from a table of stages have degenerate ones (a pool of a map that is 1x1
already, an upsampling by 1), and exporters write them down.
Safety: exact, NaN and infinities included: a mean or maximum of one element is that element, and
at scale 1 every interpolation samples on the grid (`tf_half_pixel_for_nn`, cropping and
antialiasing apart, which are left alone).
Skips: none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.bypass import bypass, bypassing
from autogo_onnx.rewriters.patterns.reading import operand, other_outputs_used, setting
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        is_noop = _IS_NOOP.get(node.op)
        if is_noop is None or not is_op(node, node.op) or not is_noop(view, node):
            continue
        if not other_outputs_used(node, view.fixed):
            yield bypassing(view, node)


def _pools_one(view: View, node: gs.Node) -> bool:
    window = node.attrs.get("kernel_shape", [0])
    ones = (*window, *node.attrs.get("strides", [1]))
    return all(n == 1 for n in ones) and not any(node.attrs.get("pads", [0]))


def _pools_map_of_one(view: View, node: gs.Node) -> bool:
    shape = view.shape(node.inputs[0])
    return shape is not None and all(size == 1 for size in shape[2:])


def _reduces_one(view: View, node: gs.Node) -> bool:
    if not node.attrs.get("keepdims", 1):
        return False
    axes = setting(node, "axes", 1)
    if axes is None and operand(node, 1) is not None:
        return False
    if axes is None or axes.size == 0:
        return bool(node.attrs.get("noop_with_empty_axes", 0))
    shape = view.shape(node.inputs[0])
    return shape is not None and all(shape[int(axis)] == 1 for axis in axes.reshape(-1))


def _resizes_by_one(view: View, node: gs.Node) -> bool:
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    if mode in ("tf_crop_and_resize", "tf_half_pixel_for_nn") or node.attrs.get("antialias", 0):
        return False
    if operand(node, 3) is not None:
        sizes, shape = setting(node, "sizes", 3), view.shape(node.inputs[0])
        stretches = node.attrs.get("keep_aspect_ratio_policy", "stretch") == "stretch"
        is_whole = "axes" not in node.attrs and stretches
        return is_whole and sizes is not None and shape == tuple(int(s) for s in sizes)
    is_old = node.op == "Upsample" or view.opset == _RESIZE_WITHOUT_REGION
    scales = setting(node, "scales", 1 if is_old else 2)
    return scales is not None and scales.size > 0 and bool((scales == 1).all())


_RESIZE_WITHOUT_REGION = 10

_IS_NOOP: dict[str, Callable[[View, gs.Node], bool]] = {
    **dict.fromkeys(("AveragePool", "MaxPool"), _pools_one),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _pools_map_of_one),
    **dict.fromkeys(
        ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _reduces_one
    ),
    **dict.fromkeys(("Resize", "Upsample"), _resizes_by_one),
}

RULE = Rule("eliminate_noop_window", Safety.EXACT, find, bypass)
