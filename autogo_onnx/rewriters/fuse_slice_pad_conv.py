"""Pad(Slice(x)) with spatial steps and zero channels -> one strided 1x1 Conv of zeros and ones.

Why: the parameter-free ("option A") shortcut of CIFAR ResNets drops every other pixel and adds
empty channels. ONNX Runtime runs Slice and Pad as generic copies that leave its blocked layout; one
1x1 Conv stays in it (measured: 6 % of a CIFAR-10 ResNet-20).
Safety: exact for finite tensors: every output is one input times 1, plus zeros. An infinity or NaN
would spread over the channels. Costs a few multiply-accumulates where there were none.
Skips: slices that do not start at 0 or that end early; pads other than zeros before and after the
channels; unknown channel counts; types other than float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.facts import Facts
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import another_reader, is_given, producer, setting
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_RANK = 4


@dataclass(frozen=True)
class _Shortcut(Match):
    """Slices (first to last) and the Pad after them, with what they do."""

    channels: int
    strides: tuple[int, int]
    added: tuple[int, int]


def find(view: View) -> Iterator[Match | Skip]:
    for pad in view.graph.nodes:
        if not is_op(pad, "Pad"):
            continue
        slices = _slices_before(pad)
        if not slices:
            continue
        found = _read(slices, pad, view.facts)
        reasons = (another_reader(node.outputs[0], view.fixed) for node in slices)
        reason = next((r for r in reasons if r), found if isinstance(found, str) else None)
        if reason is not None:
            yield Skip((*slices, pad), reason)
        elif isinstance(found, _Shortcut):
            yield found


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Shortcut)
    source, result = match.nodes[0].inputs[0], match.nodes[-1].outputs[0]
    for node in match.nodes:
        disconnect(node)
    before, after = match.added
    weight = np.zeros((before + match.channels + after, match.channels, 1, 1), np.float32)
    weight[before + np.arange(match.channels), np.arange(match.channels)] = 1
    shape = {"kernel_shape": [1, 1], "strides": list(match.strides)}
    kernel = view.constant(f"{result.name}.shortcut_weight", weight)
    view.insert("Conv", [source, kernel], result, shape)


def _slices_before(pad: gs.Node) -> tuple[gs.Node, ...]:
    slices: list[gs.Node] = []
    node = producer(pad.inputs[0])
    while node is not None and is_op(node, "Slice"):
        slices.insert(0, node)
        node = producer(node.inputs[0])
    return tuple(slices)


def _read(slices: tuple[gs.Node, ...], pad: gs.Node, facts: Facts) -> _Shortcut | str:
    source = slices[0].inputs[0].name
    shape = facts.shape(source)
    if shape is None or len(shape) != _RANK or shape[1] is None:
        return "the shape of the input is not proven"
    if facts.element_type(source) != onnx.TensorProto.FLOAT:
        return "the input is not float32"
    added = _added_channels(pad)
    if added is None:
        return "padding is not of channels with zeros"
    strides = [1, 1, 1, 1]
    for node in slices:
        steps = _steps(node, facts)
        if steps is None or any(strides[a] != 1 or a < 2 for a in steps):
            return "a slice is not every n-th pixel from the first to the last"
        for axis, step in steps.items():
            strides[axis] = step
    return _Shortcut((*slices, pad), shape[1], (strides[2], strides[3]), added)


def _steps(node: gs.Node, facts: Facts) -> dict[int, int] | None:
    """Step by axis of a slice from the first to the last element; None for any other slice."""
    starts, ends = setting(node, "starts", 1), setting(node, "ends", 2)
    axes, steps = setting(node, "axes", 3), setting(node, "steps", 4)
    shape = facts.shape(node.inputs[0].name)
    if starts is None or ends is None or shape is None or starts.any():
        return None
    if (axes is None and is_given(node, "axes", 3)) or (
        steps is None and is_given(node, "steps", 4)
    ):
        return None
    axes = np.arange(starts.size) if axes is None else axes % _RANK
    steps = np.ones(starts.size, np.int64) if steps is None else steps
    for axis, end in zip(axes, ends, strict=True):
        size = shape[axis]
        if end < np.iinfo(np.int32).max and (size is None or end < size):
            return None
    if (steps < 1).any():
        return None
    return {int(a): int(s) for a, s in zip(axes, steps, strict=True) if s > 1}


def _added_channels(pad: gs.Node) -> tuple[int, int] | None:
    pads, value = setting(pad, "pads", 1), setting(pad, "value", 2)
    if pads is None or is_given(pad, "axes", 3) or pad.attrs.get("mode", "constant") != "constant":
        return None
    if pads.size != 2 * _RANK or (pads < 0).any() or (is_given(pad, "value", 2) and value is None):
        return None
    if value is not None and value.any():
        return None
    begins, ends = pads.reshape(2, -1)
    if begins[[0, 2, 3]].any() or ends[[0, 2, 3]].any():
        return None
    return int(begins[1]), int(ends[1])


RULE = Rule("fuse_slice_pad_conv", Safety.EXACT, find, apply, on_trial=True)
