"""Clip, Relu, and Min and Max with a number, one after another, as one clamp between two bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.gating import only_reader
from autogo_onnx.rewriters.patterns.reading import is_given, producer, setting
from autogo_onnx.rewriters.patterns.scalars import number
from autogo_onnx.rewriters.view import View

CLAMPS = ("Clip", "Relu", "Min", "Max")


@dataclass(frozen=True)
class Clamp:
    """`min(max(source, low), high)`.

    Attributes:
        source: what is clamped.
        low, high: the bounds, the low one not above the high one.
        nodes: that compute it, the last one last.
    """

    source: gs.Tensor
    low: float
    high: float
    nodes: tuple[gs.Node, ...]


def clamp_ending_in(view: View, node: gs.Node) -> Clamp | None:
    """The longest run of clamps that ends in the node; None for one that another clamp follows."""
    follower = only_reader(view, node)
    if follower is not None and _single(view, follower) is not None:
        return None
    whole = _single(view, node)
    while whole is not None:
        before = producer(whole.source)
        if before is None or only_reader(view, before) is not whole.nodes[0]:
            break
        inner = _single(view, before)
        if inner is None:
            break
        low = min(max(inner.low, whole.low), whole.high)
        high = min(max(inner.high, whole.low), whole.high)
        whole = Clamp(inner.source, low, high, (before, *whole.nodes))
    return whole


def _single(view: View, node: gs.Node) -> Clamp | None:
    if is_op(node, "Relu"):
        return Clamp(node.inputs[0], 0.0, math.inf, (node,))
    if is_op(node, "Clip"):
        low = _bound(node, "min", 1, -math.inf)
        high = _bound(node, "max", 2, math.inf)
        if low is None or high is None or not low <= high:
            return None
        return Clamp(node.inputs[0], low, high, (node,))
    if not is_op(node, "Min", "Max") or len(node.inputs) != 2:
        return None
    for side in (0, 1):
        value = number(view, node.inputs[1 - side], node.inputs[side])
        if value is not None:
            bounds = (-math.inf, value) if node.op == "Min" else (value, math.inf)
            return Clamp(node.inputs[side], *bounds, (node,))
    return None


def _bound(node: gs.Node, name: str, index: int, missing: float) -> float | None:
    if not is_given(node, name, index):
        return missing
    value = setting(node, name, index)
    if value is None or value.size != 1 or value.dtype.kind != "f":
        return None
    return float(value.reshape(()))
