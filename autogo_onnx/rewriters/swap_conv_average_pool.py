"""AveragePool(Conv1x1(x)) -> Conv1x1(AveragePool(x)); GlobalAveragePool and ReduceMean likewise.

Why: the convolution then sees the small image: a quarter of the multiply-accumulates in the
transitions of DenseNet, and next to none before a global pool.
Safety: exact for finite tensors. A mean commutes with the weights, and with the bias where its
coefficients sum to 1, which they do not where padding is counted in.
Skips: a result of the convolution that others read; a bias where the mean counts padding in; a
ReduceMean over the batch or the channels, or over negative axes where the batch may be empty, which
ONNX Runtime gets wrong. Not looked at: pools that leave the image as large as it was, and anything
between the convolution and the pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.pointwise import Pointwise, read_pointwise
from autogo_onnx.rewriters.patterns.reading import another_reader, is_given, producer, setting
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_FIRST_WITH_AXES_INPUT = {"ReduceMean": 18, "Squeeze": 13}


@dataclass(frozen=True)
class _Swap(Match):
    """A convolution and the pool behind it; the axes that a ReduceMean drops."""

    conv: Pointwise
    dropped: tuple[int, ...] = ()


def find(view: View) -> Iterator[Match | Skip]:
    for pool in view.graph.nodes:
        if not is_op(pool, "AveragePool", "GlobalAveragePool", "ReduceMean"):
            continue
        maker = producer(pool.inputs[0])
        conv = None if maker is None else read_pointwise(view, maker)
        if conv is None or not _shrinks(pool):
            continue
        reason = (
            another_reader(pool.inputs[0], view.fixed)
            or _refusal(pool, conv)
            or _empty_batch_refusal(view, pool)
        )
        if reason is not None:
            yield Skip((conv.node, pool), reason)
        else:
            drops = pool.op == "ReduceMean" and not pool.attrs.get("keepdims", 1)
            dropped = tuple(_mean_axes(pool, conv.rank) or ()) if drops else ()
            yield _Swap((conv.node, pool), conv, dropped)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Swap)
    conv, pool = match.nodes
    source, result = conv.inputs[0], pool.outputs[0]
    settings, pooling = pool.inputs[1:], dict(pool.attrs)
    inputs, kernel = conv.inputs[1:], dict(conv.attrs)
    disconnect(pool)
    disconnect(conv)
    name = f"{result.name}.pooled"
    if not match.dropped:
        pooled = view.insert(pool.op, [source, *settings], name, pooling)
        view.insert("Conv", [pooled, *inputs], result, kernel)
        return
    axes = list(match.dropped)
    number = view.constant(f"{result.name}.axes", np.array(axes, np.int64))
    pooled = _with_axes(view, "ReduceMean", source, number, name, {**pooling, "keepdims": 1})
    kept = view.insert("Conv", [pooled, *inputs], f"{result.name}.kept", kernel)
    _with_axes(view, "Squeeze", kept, number, result, {})


def _with_axes(
    view: View,
    op: str,
    data: gs.Tensor,
    axes: gs.Constant,
    result: gs.Tensor | str,
    attributes: dict[str, Any],
) -> gs.Tensor:
    """Insert a node whose axes are an attribute or an input, whichever the opset has."""
    if view.opset >= _FIRST_WITH_AXES_INPUT[op]:
        return view.insert(op, [data, axes], result, attributes)
    return view.insert(op, [data], result, {**attributes, "axes": axes.values.tolist()})


def _shrinks(pool: gs.Node) -> bool:
    return pool.op != "AveragePool" or any(s > 1 for s in pool.attrs.get("strides", ()))


def _refusal(pool: gs.Node, conv: Pointwise) -> str | None:
    if pool.op == "ReduceMean":
        axes = _mean_axes(pool, conv.rank)
        if axes is None:
            return "the axes of ReduceMean are not constant"
        return None if axes and min(axes) > 1 else "ReduceMean is not of spatial axes alone"
    counts = pool.op == "AveragePool" and pool.attrs.get("count_include_pad", 0)
    if not counts or not conv.has_bias:
        return None
    pads = any(pool.attrs.get("pads", ())) or pool.attrs.get("auto_pad", "NOTSET") != "NOTSET"
    if pads or pool.attrs.get("ceil_mode", 0):
        return "the mean counts padding in, which the bias of Conv is not added to"
    return None


def _empty_batch_refusal(view: View, pool: gs.Node) -> str | None:
    """ONNX Runtime gives a mean over negative axes of an empty batch a shape of its own."""
    shape, axes = view.shape(pool.inputs[0]), setting(pool, "axes", 1)
    if pool.op != "ReduceMean" or axes is None or (axes >= 0).all() or (shape and shape[0]):
        return None
    return "with an empty batch, ONNX Runtime's ReduceMean over negative axes has another shape"


def _mean_axes(pool: gs.Node, rank: int) -> list[int] | None:
    """Axes in order; all of them by default, unless nothing is to be reduced then."""
    if not is_given(pool, "axes", 1):
        return [] if pool.attrs.get("noop_with_empty_axes", 0) else list(range(rank))
    axes = setting(pool, "axes", 1)
    return None if axes is None else sorted(int(axis) % rank for axis in axes.reshape(-1))


RULE = Rule("swap_conv_average_pool", Safety.EXACT, find, apply, on_trial=True)
