"""Conv_b(Conv_a(x)) -> Conv(x), where that multiplies no more; MatMul and Gemm likewise.

Why: networks train with sequences (a wide 1x1 convolution round a k x k one, a scale per channel
as a depthwise one, diverse branch blocks) that nothing non-linear divides. Where others read what
the first one makes, it stays, and the second one still gains from reading fewer channels (RepViT).
Safety: exact for finite inputs; computed in float64 and rounded once. Where the second convolution
pads, it reads zeros and not what the first one would compute there: the first must make zeros too.
Skips: a tensor in between that is read elsewhere, so that the first one's work is not saved;
weights that are not constant or not float32 or float64; padding between the two, unless the first
is 1x1 without bias and padding; padding by `auto_pad` that depends on the shape;
a bias for MatMul, which has none; weights so large that composing them takes a second or more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from autogo_onnx.graph import is_constant
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.branches import LAYERS, layer_weights, objection, read_layer
from autogo_onnx.rewriters.patterns.linear import set_weights
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.patterns.stencil import MOST_WORK, Row, Stencil
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Composition(Match):
    """Two layers in a row, as one takes the place of the second.

    Attributes:
        row: what both compute.
        stays: whether the first one stays, for other readers.
    """

    row: Row
    stays: bool


def find(view: View) -> Iterator[Match | Skip]:
    for second in view.graph.nodes:
        if not is_op(second, *LAYERS):
            continue
        first = producer(second.inputs[0])
        if first is None or not is_op(first, *LAYERS):
            continue
        if not all(is_constant(layer.inputs[1]) for layer in (first, second)):
            continue
        found = _found(view, first, second)
        if isinstance(found, str):
            yield Skip((first, second), found)
        elif found is not None:
            yield found


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Composition)
    first, second = match.nodes
    both = match.row.whole()
    weights = layer_weights(second, both.weight, both.bias)
    second.attrs.pop("alpha", None)
    if is_op(second, "Conv"):
        _set_geometry(second, both)
    second.inputs[0] = first.inputs[0]
    set_weights(view, second, weights)
    if not match.stays:
        disconnect(first)


def _set_geometry(conv: gs.Node, stencil: Stencil) -> None:
    begins, ends = zip(*(axis.pads for axis in stencil.axes), strict=True)
    conv.attrs.clear()  # of `auto_pad` there is no need any more
    conv.attrs.update(
        dilations=[axis.step for axis in stencil.axes],
        group=stencil.groups,
        kernel_shape=[axis.taps for axis in stencil.axes],
        pads=[*begins, *ends],
        strides=[axis.stride for axis in stencil.axes],
    )


def _found(view: View, first: gs.Node, second: gs.Node) -> Match | str | None:
    """The match, why there is none, or None where there is nothing to gain."""
    a, b = read_layer(view, first), read_layer(view, second)
    if isinstance(a, str):
        return a
    if isinstance(b, str):
        return b
    reason = another_reader(second.inputs[0], view.fixed)
    if len(a.axes) != len(b.axes) or a.channels_out != b.channels_in:
        return None  # channels are not on the same axis
    if not _pays(a, b, stays=False):
        return None
    if reason is not None and not _pays(a, b, stays=True):
        return reason
    row = Row.of(a).then(b)
    if row is None:
        return "the second convolution pads what the first one computes"
    if row.work > MOST_WORK:
        return "composing the weights would take too long"
    refused = objection(second, row.adds, row.magnitude)
    return refused or _Composition((first, second), row, reason is not None)


def _pays(first: Stencil, second: Stencil, *, stays: bool) -> bool:
    """Whether one convolution multiplies no more than the two, on inputs of any size.

    Args:
        first, second: in a row.
        stays: whether the first one is computed in any case; then there must be something to gain.
    """
    groups = math.gcd(first.groups, second.groups)
    taps = math.prod(b.after(a).taps for a, b in zip(first.axes, second.axes, strict=True))
    together = second.channels_out * first.channels_in // groups * taps
    if stays:
        return together < second.macs
    # The first one computes so many positions for each of the second.
    positions = math.prod(axis.stride for axis in second.axes)
    return together <= first.macs * positions + second.macs


RULE = Rule("merge_consecutive_layers", Safety.EXACT, find, apply, on_trial=True)
