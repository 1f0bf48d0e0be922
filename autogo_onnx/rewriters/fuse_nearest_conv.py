"""Conv(Resize(x)) -> DepthToSpace(Concat(smaller Convs of x)) where Resize repeats pixels.

Why: where every pixel is there four times, a 3x3 kernel sees no more than 2x2 different ones: one
convolution with 2x2 taps for each of the four positions gives the same with 16 instead of 36
multiplications. Where a Concat joins the enlarged image with another, as in U-Nets, an Add does.
Safety: exact for finite tensors, the border included (see `subpixel`). Sums of taps are rounded
once.
Skips: any interpolation but of repeated pixels; factors that are not proven; a convolution with
strides, dilations or groups, or one that changes the size; weights that are not constant float32 or
float64, or whose sums overflow; channels of a Concat that are not proven.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
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
from autogo_onnx.rewriters.patterns.reading import producer
from autogo_onnx.rewriters.patterns.subpixel import Repeated, insert_subpixel, overflows
from autogo_onnx.rewriters.patterns.upsampling import is_resize, read, repeats
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

Groups = tuple[tuple[tuple[int, ...], tuple[Part, ...]], ...]
"""Parts of the input by how often their pixels repeat, those that do not () last."""


@dataclass(frozen=True)
class _Fusion(Match):
    """A convolution, the zeros before its image by axis, and what it reads."""

    before: tuple[int, ...]
    groups: Groups


def find(view: View) -> Iterator[Match | Skip]:
    for conv in view.graph.nodes:
        if not is_op(conv, "Conv"):
            continue
        source = producer(conv.inputs[0])
        if source is None or not is_op(source, "Resize", "Upsample", "Concat"):
            continue
        inputs = [conv.inputs[0]] if is_resize(source) else source.inputs
        makers = [maker for maker in map(producer, inputs) if maker and is_resize(maker)]
        weight = constant_value(conv.inputs[1])
        if not makers or (weight is not None and prod(weight.shape[2:]) == 1):
            continue  # 1x1 kernels are swapped with any Resize
        found = _read(view, conv, source, weight)
        if isinstance(found, str):
            yield Skip((conv,), found)
        else:
            before, groups = found
            yield _Fusion((conv, source, *makers), before, groups)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Fusion)
    conv, *makers = match.nodes
    weight, result = constant_value(conv.inputs[1]), conv.outputs[0]
    assert weight is not None, "find() refused"
    bias, attributes = conv.inputs[2:], dict(conv.attrs)
    disconnect(conv)
    terms: list[gs.Tensor] = []
    for factors, chosen in match.groups:
        is_last = len(terms) == len(match.groups) - 1
        added = bias if is_last else []
        kernel = columns(weight, chosen)
        name: gs.Tensor | str = result if len(match.groups) == 1 else f"{result.name}.part"
        if factors:
            sources = [part.maker.inputs[0] for part in chosen if part.maker is not None]
            source = joined(view, sources, f"{result.name}.joined")
            small = Repeated(kernel, factors, match.before)
            terms.append(insert_subpixel(view, source, small, added, name))
        else:
            source = joined(view, [part.tensor for part in chosen], f"{result.name}.joined")
            constant = view.constant(f"{result.name}.weight", kernel)
            terms.append(view.insert("Conv", [source, constant, *added], name, attributes))
    if len(terms) > 1:
        add_up(view, terms, result)
    for maker in makers:
        if maker.outputs and not _is_read(view, maker.outputs[0]):
            disconnect(maker)


def _is_read(view: View, tensor: gs.Tensor) -> bool:
    return bool(tensor.outputs) or tensor.name in view.fixed


def _read(
    view: View, conv: gs.Node, source: gs.Node, weight: np.ndarray | None
) -> tuple[tuple[int, ...], Groups] | str:
    """Zeros before the image and what is convolved, or why it is left."""
    if weight is None:
        return "the weight of Conv is not constant"
    if weight.dtype not in (np.float32, np.float64):
        return f"sums of weights in {weight.dtype} lose too much"
    if any(n != 1 for name in ("strides", "dilations") for n in conv.attrs.get(name, ())):
        return "the convolution has strides or dilations"
    if conv.attrs.get("group", 1) != 1:
        return "the convolution is grouped, so it has too few multiplications to save"
    before = _before(conv, weight.shape[2:])
    if before is None:
        return "the convolution changes the size of the image"
    if overflows(weight):
        return "sums of the weights overflow"
    groups = _groups(view, source, weight)
    return groups if isinstance(groups, str) else (before, groups)


def _before(conv: gs.Node, kernel: tuple[int, ...]) -> tuple[int, ...] | None:
    """Zeros before the first pixel by axis; None unless the size of the image stays."""
    mode = conv.attrs.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return tuple((k - 1) // 2 if mode == "SAME_UPPER" else k // 2 for k in kernel)
    given = conv.attrs.get("pads", ()) if mode == "NOTSET" else ()
    pads = np.array(given or [0] * 2 * len(kernel)).reshape(2, -1)
    if (pads < 0).any() or (pads.sum(0) != np.array(kernel) - 1).any():
        return None
    return tuple(int(p) for p in pads[0])


def _groups(view: View, source: gs.Node, weight: np.ndarray) -> Groups | str:
    """The parts of the input by how often their pixels repeat, or why none is worth it."""
    total, rank = weight.shape[1], weight.ndim
    found: tuple[Part, ...] | str = (Part(source.outputs[0], range(total), source),)
    if not is_resize(source):
        if not is_channel_concat(source, rank):
            return "the Concat is not of channels"
        found = parts(view, source, total)
    if isinstance(found, str):
        return found
    groups: dict[tuple[int, ...], tuple[Part, ...]] = {}
    reasons = []
    for part in found:
        factors = _factors(view, part, weight.shape[2:])
        if isinstance(factors, str):
            reasons.append(factors)
            factors = ()
        groups[factors] = (*groups.get(factors, ()), part)
    return reasons[0] if set(groups) == {()} else tuple(sorted(groups.items(), reverse=True))


def _factors(view: View, part: Part, kernel: tuple[int, ...]) -> tuple[int, ...] | str:
    """How often the pixels of a part repeat, () if it was not resized; why it is taken as it is."""
    if part.maker is None or not is_resize(part.maker):
        return ()
    upsampling = read(view, part.maker, len(kernel) + 2, len(part.channels))
    factors = upsampling if isinstance(upsampling, str) else repeats(upsampling)
    if isinstance(factors, str):
        return factors
    if all(k == 1 or s == 1 for k, s in zip(kernel, factors, strict=True)):
        return "no pixels repeat along an axis along which the kernel has several taps"
    return factors


RULE = Rule("fuse_nearest_conv", Safety.EXACT, find, apply, on_trial=True)
