"""Conv(x) * a + b -> Conv(x) with scaled weights, for constants a, b per channel; Gemm likewise.

Why: Paddle and hand-written exports spell biases and normalizations as Mul and Add.
Safety: exact in real arithmetic; computed in float64 and rounded once. Sub and Div by a constant
count as Add and Mul; `constant - Conv(x)` is a scale of -1.
Skips: a layer whose output is read elsewhere or leaves the graph; constants that vary within a
channel (a row of W values is not one value per channel, even when W equals C), enlarge the
result, or are not finite; weights that are not constant or not float32 or float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.linear import (
    Affine,
    absorb,
    absorbing,
    channels,
    is_linear,
    rank,
    refusal,
)
from autogo_onnx.rewriters.reading import another_reader, producer
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, "Mul", "Add", "Sub", "Div"):
            continue
        side = _linear_side(node)
        if side is None or constant_value(node.inputs[1 - side]) is None:
            continue
        if node.op == "Div" and side == 1:
            continue  # constant / Conv(x) is not linear
        linear = producer(node.inputs[side])
        reason = another_reader(node.inputs[side], view.fixed) or refusal(linear)
        affine = None if reason else _affine(node, linear, side)
        if affine is not None:
            yield absorbing(linear, node, affine)
        else:
            yield Skip((linear, node), reason or "the constant is not one finite value per channel")


def _linear_side(node: gs.Node) -> int | None:
    for side, tensor in enumerate(node.inputs):
        maker = producer(tensor)
        if maker is not None and is_linear(maker):
            return side
    return None


def _affine(node: gs.Node, linear: gs.Node, side: int) -> Affine | None:
    """The node as an affine map of the layer's output; None where it is none per channel."""
    constant = constant_value(node.inputs[1 - side])
    assert constant is not None
    size = channels(linear)
    values = _per_channel(constant.astype(np.float64), size, rank(linear))
    if values is None or not np.isfinite(values).all():
        return None
    one, zero = np.ones(size), np.zeros(size)
    if node.op == "Add":
        return Affine(one, values)
    if node.op == "Sub":
        return Affine(one, -values) if side == 0 else Affine(-one, values)
    if node.op == "Mul":
        return Affine(values, zero)
    return None if not values.all() else Affine(1 / values, zero)


def _per_channel(values: np.ndarray, size: int, output_rank: int) -> np.ndarray | None:
    """float64[C] if broadcasting against [N, C, ...] varies over the channels alone."""
    if values.ndim > output_rank:
        return None
    full = (1,) * (output_rank - values.ndim) + values.shape
    if any(dim != 1 for axis, dim in enumerate(full) if axis != 1) or full[1] not in (1, size):
        return None
    return np.broadcast_to(values.reshape(-1), (size,))


RULE = Rule("fuse_mul_add", Safety.EXACT, find, absorb)
