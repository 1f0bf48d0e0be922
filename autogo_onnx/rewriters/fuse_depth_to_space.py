"""Reshape(Transpose(Reshape(x))) -> DepthToSpace(x), where that is what the three do.

Why: older exporters spell a pixel shuffle so. One node takes one copy, and says what it is to
whoever merges the layers round it.
Safety: exact; elements are only moved.
Skips: integers, which ONNX Runtime does not shuffle; sizes that are not proven to fit; a tensor in
between that is read elsewhere; the order of PyTorch's shuffle in models of an opset below 11, where
the operator has the other order only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.open_dims.open_sizes import Product, Sizes, times
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_OPSET_WITH_MODES = 11
_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
# Where channels, block rows and block columns, height and width go, by the order of the channels.
_PERMUTATIONS = {(0, 1, 4, 2, 5, 3): "CRD", (0, 3, 4, 1, 5, 2): "DCR"}


@dataclass(frozen=True)
class _Shuffle(Match):
    """Reshape, Transpose, Reshape, and what they do together."""

    block: int
    mode: str


def find(view: View) -> Iterator[Match | Skip]:
    for transpose in view.graph.nodes:
        mode = _PERMUTATIONS.get(tuple(transpose.attrs.get("perm", ())))
        if mode is None or not is_op(transpose, "Transpose"):
            continue
        before, readers = producer(transpose.inputs[0]), transpose.outputs[0].outputs
        if before is None or not is_op(before, "Reshape"):
            continue
        if len(readers) != 1 or not is_op(readers[0], "Reshape"):
            continue
        nodes = (before, transpose, readers[0])
        block = _block(view, nodes, mode)
        if block is None:
            continue
        between = (before.outputs[0], transpose.outputs[0])
        reason = next(filter(None, (another_reader(t, view.fixed) for t in between)), None)
        if reason is None and view.element_type(before.inputs[0]) not in _TYPES:
            reason = "ONNX Runtime has DepthToSpace for floating-point numbers only"
        if reason is None and mode == "CRD" and view.opset < _OPSET_WITH_MODES:
            reason = "DepthToSpace has no order of channels below opset 11"
        yield _Shuffle(nodes, block, mode) if reason is None else Skip(nodes, reason)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Shuffle)
    source, result = match.nodes[0].inputs[0], match.nodes[-1].outputs[0]
    for node in match.nodes:
        disconnect(node)
    attributes: dict[str, object] = {"blocksize": match.block}
    if match.mode != "DCR":
        attributes["mode"] = match.mode
    view.insert("DepthToSpace", [source], result, attributes)


def _block(view: View, nodes: tuple[gs.Node, gs.Node, gs.Node], mode: str) -> int | None:
    """The block size, if the sizes before, in between and after are those of a shuffle."""
    before = view.dimensions.of(nodes[0].inputs[0])
    inside, after = (_sizes_after(view, reshape) for reshape in (nodes[0], nodes[2]))
    if before is None or inside is None or after is None or (len(before), len(after)) != (4, 4):
        return None
    block = inside[2]
    if not isinstance(block, int) or inside[3 if mode == "CRD" else 1] != block:
        return None
    channels = inside[1 if mode == "CRD" else 3]
    batch, height, width = inside[0], inside[4], inside[5]
    split: Sizes = (batch, times((channels, block, block)), height, width)
    shuffled: Sizes = (batch, channels, times((height, block)), times((width, block)))
    return block if (before, after) == (split, shuffled) else None


def _sizes_after(view: View, reshape: gs.Node) -> Sizes | None:
    """Sizes as the target says, where it does.

    A zero in the target means "as in the source". For the batch that is the same, and for height
    and width an error at the first Reshape, whose source has fewer axes.
    """
    sizes, target = (
        view.dimensions.of(reshape.outputs[0]),
        view.dimensions.value(reshape.inputs[1]) if len(reshape.inputs) > 1 else None,
    )
    if sizes is None or target is None or len(sizes) != len(target):
        return sizes
    return tuple(
        wanted if isinstance(wanted, Product) and wanted.is_dimension else size
        for size, wanted in zip(sizes, target, strict=True)
    )


RULE = Rule("fuse_depth_to_space", Safety.EXACT, find, apply, on_trial=True)
