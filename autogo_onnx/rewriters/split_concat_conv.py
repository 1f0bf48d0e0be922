"""Conv1x1(Concat(Resize(a), b)) -> Add(Resize(Conv1x1(a)), Conv1x1(b)) where Resize enlarges a.

Why: each part of the convolution then sees its own image before that is enlarged: heads that join
features of several resolutions (SegFormer, YOLO necks, ASPP with image pooling) spend most of their
multiply-accumulates on copies.
Safety: exact for finite tensors. A 1x1 convolution of joined channels is the sum of those of the
parts, and commutes with a Resize, whose coefficients sum to 1. What was enlarged from a single
pixel, by Resize or Expand, is added as it is, since Add repeats it.
Skips: a Concat that others read; grouped convolutions; weights that are not constant; channel
counts that are not proven; parts of too few channels to outweigh the additions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.concatenation import (
    Part,
    add_up,
    columns,
    is_channel_concat,
    joined,
    parts,
)
from autogo_onnx.rewriters.patterns.pointwise import Pointwise, sole_readers
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.patterns.upsampling import (
    Upsampling,
    extra_macs,
    is_resize,
    read,
    resize,
)
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_MACS_PER_ADDITION = 20.0  # Measured as for the Resize: an Add is bound by memory.


@dataclass(frozen=True)
class _Group:
    """Parts that are convolved together.

    Attributes:
        parts: of the Concat.
        sources: what is convolved instead of each.
        upsampling: what comes behind; None for parts of full size and for single pixels.
        is_pixel: whether the image is a single pixel.
    """

    parts: tuple[Part, ...]
    sources: tuple[gs.Tensor, ...]
    upsampling: Upsampling | None = None
    is_pixel: bool = False

    @property
    def is_full(self) -> bool:
        """Whether nothing is gained."""
        return self.upsampling is None and not self.is_pixel

    @property
    def channels(self) -> int:
        """Of all its parts."""
        return sum(len(part.channels) for part in self.parts)

    @property
    def makers(self) -> tuple[gs.Node, ...]:
        """The nodes that enlarged its parts."""
        return () if self.is_full else tuple(part.maker for part in self.parts if part.maker)


@dataclass(frozen=True)
class _Split(Match):
    """A Concat, the convolutions behind it, and its groups: those of full size come last."""

    convs: tuple[Pointwise, ...]
    groups: tuple[_Group, ...]


def find(view: View) -> Iterator[Match | Skip]:
    for concat in view.graph.nodes:
        if not is_op(concat, "Concat") or not any(map(_is_enlarged, concat.inputs)):
            continue
        convs = sole_readers(view, concat.outputs[0])
        if convs is None:
            continue
        if isinstance(convs, str):
            yield Skip((concat,), convs)
        elif is_channel_concat(concat, convs[0].rank):
            found = _read(view, concat, convs)
            nodes = (concat, *(conv.node for conv in convs))
            yield Skip(nodes, found) if isinstance(found, str) else found


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Split)
    concat = match.nodes[0]
    sources = [
        joined(view, group.sources, f"{concat.outputs[0].name}.joined") for group in match.groups
    ]
    for conv in match.convs:
        weight, result = constant_value(conv.node.inputs[1]), conv.node.outputs[0]
        assert weight is not None, "find() refused"
        bias, attributes = conv.node.inputs[2:], dict(conv.node.attrs)
        disconnect(conv.node)
        terms: list[gs.Tensor] = []
        for group, source in zip(match.groups, sources, strict=True):
            kernel = view.constant(f"{result.name}.weight", columns(weight, group.parts))
            is_last = group is match.groups[-1]
            inputs = [source, kernel, *(bias if is_last else ())]
            term = view.insert("Conv", inputs, f"{result.name}.part", attributes)
            if group.upsampling is not None:
                enlarged = result if len(match.groups) == 1 else f"{result.name}.enlarged"
                term = resize(view, group.upsampling, term, conv.channels_out, enlarged)
            terms.append(term)
        add_up(view, terms, result)
    disconnect(concat)
    for group in match.groups:
        for maker in group.makers:
            if not maker.outputs[0].outputs and maker.outputs[0].name not in view.fixed:
                disconnect(maker)


def _is_enlarged(tensor: gs.Tensor) -> bool:
    maker = producer(tensor)
    return maker is not None and (is_resize(maker) or is_op(maker, "Expand"))


def _read(view: View, concat: gs.Node, convs: list[Pointwise]) -> _Split | str:
    """How to split, or why not."""
    if any(conv.groups > 1 for conv in convs):
        return "the convolution is grouped"
    if any(constant_value(conv.node.inputs[1]) is None for conv in convs):
        return "the weight of Conv is not constant"
    found = parts(view, concat, convs[0].channels_in)
    if isinstance(found, str):
        return found
    groups: dict[object, _Group] = {}
    reasons: list[str] = []
    for part in found:
        group = _alone(view, part, convs[0].rank)
        if isinstance(group, str):
            reasons.append(group)
            group = _Group((part,), (part.tensor,))
        key = _key(group)
        if key in groups:
            parts_so_far, sources = groups[key].parts, groups[key].sources
            group = replace(group, parts=(*parts_so_far, part), sources=(*sources, *group.sources))
        groups[key] = group
    if all(group.is_full for group in groups.values()):
        return reasons[0] if reasons else "nothing is enlarged"
    if all(group.is_pixel for group in groups.values()):
        return "no part has the size of the result"
    if _saved_macs(tuple(groups.values()), convs) <= 0:
        return "the parts of low resolution have too few channels to outweigh the additions"
    order = sorted(groups.values(), key=lambda group: (group.is_full, not group.is_pixel))
    makers = {id(node): node for group in order for node in group.makers}
    nodes = (concat, *(conv.node for conv in convs), *makers.values())
    return _Split(nodes, tuple(convs), tuple(order))


def _alone(view: View, part: Part, rank: int) -> _Group | str:
    """The group of one part; in words why an enlarged part is taken as it is."""
    maker = part.maker
    if maker is None or not _is_enlarged(part.tensor):
        return _Group((part,), (part.tensor,))
    source = maker.inputs[0]
    shape = view.shape(source)
    channels = len(part.channels)
    is_pixel = shape is not None and len(shape) == rank and all(d == 1 for d in shape[2:])
    if is_op(maker, "Expand"):
        # One channel may be expanded to many; then the weights would have to be summed.
        repeats_pixel = is_pixel and shape is not None and shape[1] == channels
        return _Group((part,), (source if repeats_pixel else part.tensor,), None, repeats_pixel)
    reason = another_reader(part.tensor, view.fixed)
    upsampling = read(view, maker, rank, channels)
    if isinstance(upsampling, str):
        return upsampling
    if is_pixel and upsampling.keeps_batch:
        return _Group((part,), (source,), None, True)
    return reason or _Group((part,), (source,), upsampling)


def _key(group: _Group) -> object:
    """Equal for groups that can be convolved together: those of the same image size."""
    if group.is_full:
        return "full"
    upsampling = group.upsampling
    if upsampling is None or upsampling.whole_factors is None or not upsampling.keeps_batch:
        return id(group.parts[0])
    # Of equal results by equal whole factors the sources are equal in size.
    return upsampling.whole_factors, str(sorted(upsampling.node.attrs.items()))


def _saved_macs(groups: tuple[_Group, ...], convs: list[Pointwise]) -> float:
    """Per pixel of the enlarged image."""
    outputs = sum(conv.channels_out for conv in convs)
    saved = -_MACS_PER_ADDITION * outputs * (len(groups) - 1)
    for group in groups:
        if group.is_pixel:
            saved += group.channels * outputs
        elif group.upsampling is not None:
            saved += group.channels * outputs * (1 - 1 / group.upsampling.area)
            saved -= extra_macs(group.upsampling, group.channels, outputs)
    return saved


RULE = Rule("split_concat_conv", Safety.EXACT, find, apply, on_trial=True)
