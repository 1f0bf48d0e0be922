"""Conv1x1(Resize(x)) -> Resize(Conv1x1(x)) where Resize enlarges the image.

Why: the convolution then sees the small image: a quarter of the multiply-accumulates for a factor
of 2, and segmentation heads have 4 or 8. Often there are fewer channels left to resize, too.
Safety: exact for finite tensors. Every resized pixel is a combination of pixels whose coefficients
sum to 1, which commutes with the weights and the bias.
Skips: a resized tensor that others read; tf_crop_and_resize; scales that are not constant; a Resize
that enlarges nothing, or that would get so many more channels that it outweighs what is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autogo_onnx.liveness import disconnect
from autogo_onnx.rewriters.patterns.pointwise import Pointwise, sole_readers
from autogo_onnx.rewriters.patterns.upsampling import (
    Upsampling,
    extra_macs,
    is_resize,
    read,
    resize,
)
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Swap(Match):
    """A Resize and the convolutions behind it."""

    upsampling: Upsampling
    convs: tuple[Pointwise, ...]


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_resize(node):
            continue
        convs = sole_readers(view, node.outputs[0])
        if convs is None:
            continue
        if isinstance(convs, str):
            yield Skip((node,), convs)
            continue
        nodes = (node, *(conv.node for conv in convs))
        upsampling = read(view, node, convs[0].rank, convs[0].channels_in)
        if isinstance(upsampling, str):
            yield Skip(nodes, upsampling)
        elif _saved_macs(upsampling, convs) <= 0:
            yield Skip(nodes, "resizing the new channels costs more than it saves")
        else:
            yield _Swap(nodes, upsampling, tuple(convs))


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Swap)
    node = match.upsampling.node
    for conv in match.convs:
        result = conv.node.outputs[0]
        small = view.insert(
            "Conv",
            [node.inputs[0], *conv.node.inputs[1:]],
            f"{result.name}.small",
            dict(conv.node.attrs),
        )
        disconnect(conv.node)
        resize(view, match.upsampling, small, conv.channels_out, result)
    disconnect(node)


def _saved_macs(upsampling: Upsampling, convs: list[Pointwise]) -> float:
    """Per pixel of the enlarged image."""
    saved = sum(conv.macs for conv in convs) * (1 - 1 / upsampling.area)
    outputs = sum(conv.channels_out for conv in convs)
    return saved - extra_macs(upsampling, upsampling.channels, outputs)


RULE = Rule("swap_resize_conv", Safety.EXACT, find, apply, on_trial=True)
