"""Conv(DepthToSpace(Conv(x))) -> DepthToSpace(Conv(x) + border); rows of more layers likewise.

Why: the tail of a super-resolution network widens, shuffles and narrows without an activation (EDSR
x2: 64 to 256 channels, shuffle, 3 channels). In one, it is a 5x5 convolution to 12 channels, an
eighth of the work.
Safety: exact for finite inputs, at the border too, for images of every size; composed in float64
and rounded once. Where a later convolution reads zeros beyond the border, one convolution for all
reads what the earlier one would make there. That is taken away from the first and last row and
column, by convolutions of the one or two rows or columns next to the border.
Skips: a tensor in between that is read elsewhere; strides, dilations, groups or a changed size;
padding that reaches further than the outermost row and column; rows that save too little, or that
take a second or more to compose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.border_ring import build, ring
from autogo_onnx.rewriters.patterns.bordered import Stage, compose, magnitude, reach, work
from autogo_onnx.rewriters.patterns.branches import objection, read_conv
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.patterns.stencil import MOST_WORK
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_LONGEST = 6  # layers looked at together; EDSR x4 has four
# Adding the ring takes eight copies of the result, and a copied number as long as a few
# multiply-accumulates.
_MACS_PER_RING = 8 * 4


@dataclass(frozen=True)
class _Layer:
    """A convolution and the shuffle after it, if there is one."""

    nodes: tuple[gs.Node, ...]
    stage: Stage


@dataclass(frozen=True)
class _Tail(Match):
    """The nodes of a row of layers, what these do, and the least height and width of an image."""

    stages: tuple[Stage, ...]
    lengths: tuple[int, int]


def find(view: View) -> Iterator[Match | Skip]:
    for conv in view.graph.nodes:
        if not is_op(conv, "Conv") or _conv_before(conv.inputs[0]) is None:
            continue
        if _goes_on(view, conv):
            continue  # seen from the last convolution
        layers, refusal = _layers(view, conv)
        lengths = _lengths(view, layers)
        row = _best(layers, lengths)
        if row:
            yield _merged(row, lengths)
        elif refusal is not None:
            yield refusal


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Tail)
    whole = compose(list(match.stages), match.lengths)
    assert whole is not None, "_saving() asked"
    made = ring(whole, match.stages[-1].weight.dtype)
    source, result = match.nodes[0].inputs[0], match.nodes[-1].outputs[0]
    for node in match.nodes:
        disconnect(node)
    build(view, made, source, result)


def _conv_before(tensor: gs.Tensor) -> gs.Node | None:
    """The convolution that makes a tensor, directly or through a shuffle."""
    node = producer(tensor)
    if node is not None and is_op(node, "DepthToSpace"):
        node = producer(node.inputs[0])
    return node if node is not None and is_op(node, "Conv") else None


def _shuffle_after(view: View, conv: gs.Node) -> gs.Node | None:
    """The shuffle that alone reads a convolution's output."""
    made = conv.outputs[0]
    if len(made.outputs) == 1 and made.name not in view.fixed:
        reader: gs.Node = made.outputs[0]
        return reader if is_op(reader, "DepthToSpace") else None
    return None


def _goes_on(view: View, conv: gs.Node) -> bool:
    """Whether a convolution alone reads what this one makes, directly or through a shuffle."""
    made = (_shuffle_after(view, conv) or conv).outputs[0]
    return (
        len(made.outputs) == 1
        and made.name not in view.fixed
        and is_op(made.outputs[0], "Conv")
        and made.outputs[0].inputs[0] is made
    )


def _layers(view: View, conv: gs.Node) -> tuple[list[_Layer], Skip | None]:
    """Layers up to this convolution, first to last, and why there are no more, if there might be.

    Convolutions without a shuffle in between are left unsaid: another rule answers for those.
    """
    layers: list[_Layer] = []
    shuffle = _shuffle_after(view, conv)
    while len(layers) < _LONGEST:
        nodes = (conv,) if shuffle is None else (conv, shuffle)
        stage = _stage(view, conv, shuffle)
        if isinstance(stage, str):
            shuffles = shuffle or any(layer.stage.block > 1 for layer in layers)
            return layers, Skip(nodes, stage) if shuffles else None
        layers.insert(0, _Layer(nodes, stage))
        before, made = _conv_before(conv.inputs[0]), conv.inputs[0]
        if before is None:
            break
        shuffle = producer(made) if producer(made) is not before else None
        between = [made] if shuffle is None else [made, shuffle.inputs[0]]
        reason = next(filter(None, (another_reader(t, view.fixed) for t in between)), None)
        if reason is not None:
            return layers, Skip((before, *nodes), reason) if shuffle else None
        conv = before
    return layers, None


def _stage(view: View, conv: gs.Node, shuffle: gs.Node | None) -> Stage | str:
    stencil = read_conv(view, conv)
    if isinstance(stencil, str):
        return stencil
    if stencil.groups != 1 or len(stencil.axes) != 2:
        return "a convolution with groups, or not of two spatial axes"
    if any(axis.stride != 1 or axis.step != 1 or axis.reach for axis in stencil.axes):
        return "a convolution with strides or dilations, or one that changes the size"
    rows, columns = (axis.begin for axis in stencil.axes)
    block = 1 if shuffle is None else int(shuffle.attrs["blocksize"])
    if stencil.channels_out % block**2:
        return "the channels do not fit the shuffle"
    order = (block, block, -1)
    if shuffle is not None and shuffle.attrs.get("mode", "DCR") == "CRD":
        order = (-1, block, block)
    weight = stencil.weight.reshape(*order, *stencil.weight.shape[1:])
    bias = stencil.bias.reshape(order)
    if order[0] == -1:
        weight, bias = np.moveaxis(weight, 0, 2), np.moveaxis(bias, 0, 2)
    return Stage(weight, bias, (rows, columns))


def _lengths(view: View, layers: list[_Layer]) -> tuple[int, int]:
    """The least height and width of the image that the layers are given."""
    shape = view.shape(layers[0].nodes[0].inputs[0]) if layers else None
    rows, columns = shape[2:] if shape is not None and len(shape) == 4 else (None, None)
    return rows or 1, columns or 1


def _best(layers: list[_Layer], lengths: tuple[int, int]) -> list[_Layer]:
    """The layers next to each other that save most when merged; none if that is too little."""
    best, most = [], 0
    scale = 1
    for start, first in enumerate(layers):
        sizes = lengths[0] * scale, lengths[1] * scale
        for end in range(start + 2, len(layers) + 1):
            saved = _saving([layer.stage for layer in layers[start:end]], sizes) * scale**2
            if saved > most:
                best, most = layers[start:end], saved
        scale *= first.stage.block
    return best


def _saving(stages: list[Stage], lengths: tuple[int, int]) -> int:
    """Multiply-accumulates per position that one map for all stages saves; 0 if it cannot be."""
    reached = reach(stages, lengths)
    if reached is None:
        return 0
    rows, columns = reached[-1]
    scales = np.cumprod([1, *(stage.block for stage in stages)])
    apart = sum(stage.macs * int(s) ** 2 for stage, s in zip(stages, scales[:-1], strict=True))
    results = rows.block * columns.block * int(stages[-1].weight.shape[2])
    together = results * int(stages[0].weight.shape[3]) * rows.taps * columns.taps
    has_ring = any((rows.first, rows.last, columns.first, columns.last))
    return apart - together - (results * _MACS_PER_RING if has_ring else 0)


def _merged(row: list[_Layer], lengths: tuple[int, int]) -> Match | Skip:
    nodes = tuple(node for layer in row for node in layer.nodes)
    stages = [layer.stage for layer in row]
    reached = reach(stages, lengths)
    assert reached is not None, "_saving() asked"
    if work(stages, reached) > MOST_WORK:
        return Skip(nodes, "composing the weights would take too long")
    refused = objection(row[-1].nodes[0], True, magnitude(stages, reached))
    return _Tail(nodes, tuple(stages), lengths) if refused is None else Skip(nodes, refused)


RULE = Rule("fuse_linear_tail", Safety.EXACT, find, apply, on_trial=True)
