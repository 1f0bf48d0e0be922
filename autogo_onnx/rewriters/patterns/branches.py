"""From nodes to stencils: chains of linear layers, read from their end up to a tensor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.affine import ARITHMETIC, NORM, affine_source, read_affine
from autogo_onnx.rewriters.patterns.layout import Channels
from autogo_onnx.rewriters.patterns.linear import (
    Weights,
    bias_of,
    groups,
    refusal,
    rounded,
    weight_of,
)
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.patterns.stencil import (
    MOST_WORK,
    Axis,
    Row,
    Stencil,
    composed_axes,
    diagonal,
)
from autogo_onnx.rewriters.view import View

# The branches of diverse branch blocks have four; without a limit, long chains cost their square.
_LONGEST_CHAIN = 6

LAYERS = ("Conv", "MatMul", "Gemm")
"""Operators that branches end in, and that others are merged into."""

Chain = tuple[gs.Node, ...]
"""Linear nodes, first to last, each the only reader of the one before."""


def chains(view: View, tensor: gs.Tensor) -> Iterator[tuple[gs.Tensor, Chain]]:
    """The chains that make a tensor, shortest (empty) first, each with what it reads.

    Of the tensor itself there may be other readers, of those in between there are none.
    """
    chain: Chain = ()
    yield tensor, chain
    while len(chain) < _LONGEST_CHAIN:
        node = producer(tensor)
        if chain and another_reader(tensor, view.fixed) is not None:
            return
        source = None if node is None else _linear_input(node)
        if source is None:
            return
        chain, tensor = (node, *chain), source
        yield tensor, chain


def read_chain(view: View, chain: Chain, channels: int, rank: int) -> Row | str:
    """A chain as stencils in a row, or why it is none.

    Args:
        view: the graph.
        chain: of linear nodes; empty for the identity.
        channels: of what the chain reads.
        rank: number of spatial axes; 0 for MatMul and Gemm, whose channels are the last axis.
    """
    result = Row.of(diagonal(np.ones(channels), np.zeros(channels), rank))
    for node in chain:
        read = _read(view, node, result.channels_out, rank)
        if isinstance(read, str):
            return read
        if len(read.axes) != rank or read.channels_in != result.channels_out:
            return "the layers of a branch do not fit each other"
        if composed_axes(result, read) is None:
            return "the padding between two layers of a branch is not that of one layer"
        starts = node is chain[0] and is_op(node, *LAYERS)
        following = Row.of(read) if starts else result.then(read)
        assert following is not None, "axes and channels were looked at"
        result = following
    return result if result.work <= MOST_WORK else "composing the weights would take too long"


def read_layer(view: View, node: gs.Node) -> Stencil | str:
    """A Conv, MatMul or Gemm as a stencil, or why it is none."""
    if is_op(node, "Conv"):
        return read_conv(view, node)
    reason = refusal(node)
    if reason is not None:
        return reason
    weight = weight_of(node)
    if weight.ndim != 2 or node.attrs.get("transA", 0):
        return f"{node.op} does not map the last axis alone"
    outs_first = weight if node.attrs.get("transB", 0) else weight.T
    alpha = node.attrs.get("alpha", 1.0)
    if alpha != 1:
        outs_first = outs_first.astype(np.float64) * alpha
    return Stencil((), outs_first, bias_of(node))


def objection(node: gs.Node, adds: bool, magnitude: float) -> str | None:
    """Why a node that `read_layer` reads cannot hold a stencil; None where it can.

    Args:
        node: with the type of the weights.
        adds: whether the stencil may have a bias.
        magnitude: a bound of all its weights.
    """
    if is_op(node, "MatMul") and adds:
        return "MatMul has no bias"
    dtype = weight_of(node).dtype
    # A NaN is not below the limit, either.
    fits = magnitude <= float(np.finfo(dtype).max) / 2
    return None if fits else f"the composed weights may overflow {dtype}"


def layer_weights(node: gs.Node, weight: np.ndarray, bias: np.ndarray) -> Weights:
    """Weights of a stencil without `objection` in the layout of the node.

    Whoever sets them takes off the node's `alpha`.
    """
    if not is_op(node, "Conv") and not node.attrs.get("transB", 0):
        weight = weight.T
    weights = rounded(weight, bias, weight_of(node).dtype)
    assert isinstance(weights, Weights), "objection() was asked first"
    return weights


def read_conv(view: View, conv: gs.Node) -> Stencil | str:
    """A Conv as a stencil, with its weights as they are, or why it is none."""
    reason = refusal(conv)
    if reason is not None:
        return reason
    weight = weight_of(conv)
    axes = _axes(view, conv, weight.shape[2:])
    if isinstance(axes, str):
        return axes
    return Stencil(axes, weight, bias_of(conv), groups(conv))


def _linear_input(node: gs.Node) -> gs.Tensor | None:
    """What a layer reads that may be linear in it."""
    if is_op(node, *LAYERS, "AveragePool"):
        return node.inputs[0]
    return affine_source(node, (NORM, *ARITHMETIC))


def _read(view: View, node: gs.Node, channels: int, rank: int) -> Stencil | str:
    if is_op(node, *LAYERS):
        return read_layer(view, node)
    if is_op(node, "AveragePool"):
        return _read_pool(view, node, channels)
    if is_op(node, NORM) and rank == 0:
        return "BatchNormalization of another axis than the last"
    affine = read_affine(view, node, rank + 2)
    if isinstance(affine, str):
        return affine
    layout = Channels(channels, rank, rank + 2 if rank else None)
    scale, shift = layout.vector(affine.scale), layout.vector(affine.shift)
    if scale is None or shift is None:
        return "a constant varies within a channel"
    return diagonal(scale, shift, rank)


def _read_pool(view: View, pool: gs.Node, channels: int) -> Stencil | str:
    kernel = tuple(pool.attrs["kernel_shape"])
    axes = _axes(view, pool, kernel)
    if isinstance(axes, str):
        return axes
    if pool.attrs.get("ceil_mode", 0):
        return "AveragePool rounds its output size up"
    if any(any(axis.pads) for axis in axes) and not pool.attrs.get("count_include_pad", 0):
        return "AveragePool leaves its own padding out of the mean"
    weight = np.full((channels, 1, *kernel), 1 / np.prod(kernel))
    return Stencil(axes, weight, np.zeros(channels), channels)


def _axes(view: View, node: gs.Node, kernel: tuple[int, ...]) -> tuple[Axis, ...] | str:
    rank = len(kernel)
    strides = node.attrs.get("strides", [1] * rank)
    dilations = node.attrs.get("dilations", [1] * rank)
    pads = np.reshape(node.attrs.get("pads", [0] * 2 * rank), (2, rank))
    auto = node.attrs.get("auto_pad", "NOTSET")
    shape = view.shape(node.inputs[0]) or (None,) * (rank + 2)
    axes = []
    for i, (taps, stride, step) in enumerate(zip(kernel, strides, dilations, strict=True)):
        width = step * (taps - 1)
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            before = _same(shape[2 + i], width, stride, auto == "SAME_LOWER")
            if before is None:
                return f"the padding of {node.op} by auto_pad depends on the shape"
            reach = 0
        else:
            before, after = (0, 0) if auto == "VALID" else (int(p) for p in pads[:, i])
            reach = before + after - width
        if before < 0 or reach + width - before < 0:
            return "negative padding"
        axes.append(Axis(-before, step if taps > 1 else 1, taps, stride, reach))
    return tuple(axes)


def _same(length: int | None, width: int, stride: int, lower: bool) -> int | None:
    """Zeros before the input by auto_pad SAME; None where an unknown length decides."""
    if stride > 1 and length is None:
        return None
    remainder = 0 if length is None else (length - 1) % stride
    total = max(width - remainder, 0)
    return total - total // 2 if lower else total // 2
