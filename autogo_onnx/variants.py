"""Self variants: cheaper forms of a segment's own convolutions, as weight-free graphs.

Which of them pay on ONNX Runtime is measured later, never assumed: a low-rank 3x3 -> 1x1 pair
halves the multiply-accumulates of 16 channels and takes 1.2 times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from autogo_onnx.cost import macs
from autogo_onnx.opgraph import Op, OpGraph, Shape
from autogo_onnx.segments import ACTIVATIONS

SHARES = (1.0, 0.75, 0.5, 0.25)
WIDTH_STEP = 8
WORTHWHILE = 0.9


@dataclass(frozen=True)
class Variant:
    """A candidate graph and the name of the idea behind it."""

    name: str
    graph: OpGraph


def variants(segment: OpGraph) -> tuple[Variant, ...]:
    """Every cheaper form of a segment with one input and one output, without duplicates.

    Covers a single convolution and convolution - activation - convolution. Each variant has the
    segment's own boundary shapes and at most `WORTHWHILE` of its multiply-accumulates.
    """
    limit = WORTHWHILE * macs(segment)
    found: dict[OpGraph, Variant] = {}
    for variant in _all_variants(segment):
        if variant.graph.output_shapes == segment.output_shapes and macs(variant.graph) <= limit:
            found.setdefault(variant.graph, variant)
    return tuple(found.values())


def _all_variants(segment: OpGraph) -> Iterator[Variant]:
    kinds = [op.kind for op in segment.ops]
    if len(segment.input_shapes) != 1 or len(segment.outputs) != 1:
        return
    if kinds == ["Conv"] and len(segment.input_shapes[0]) == 4:
        yield from _of_convolution(segment.input_shapes[0], segment.ops[0], segment.op_shapes[0][1])
    elif _is_convolution_pair(segment):
        yield from _narrower(segment)
        yield from _linearized(segment)


def _is_convolution_pair(segment: OpGraph) -> bool:
    """Two-dimensional convolution, activation, convolution, in a chain."""
    kinds = [op.kind for op in segment.ops]
    is_chain = all(op.inputs == (i,) for i, op in enumerate(segment.ops))
    is_flat = all(len(shape) == 4 for shape in (*segment.input_shapes, *segment.op_shapes))
    is_pair = len(kinds) == 3 and kinds[0] == kinds[2] == "Conv" and kinds[1] in ACTIVATIONS
    return is_pair and is_chain and is_flat


def chain(source: Shape, steps: list[tuple[Op, int]]) -> OpGraph:
    """A chain of convolutions and element-wise operators; each step tells its output channels."""
    shapes, ops, shape = [], [], source
    for index, (op, channels) in enumerate(steps):
        if op.kind == "Conv":
            shape = (shape[0], channels, *_spatial(shape[2:], op))
        ops.append(Op(op.kind, (index,), op.attributes))
        shapes.append(shape)
    return OpGraph((source,), tuple(ops), tuple(shapes), (len(ops),))


def _spatial(size: Shape, op: Op) -> Shape:
    kernel, pads = op.get("kernel_shape"), op.get("pads")
    rank = len(kernel)
    return tuple(
        (size[a] + pads[a] + pads[a + rank] - op.get("dilations")[a] * (kernel[a] - 1) - 1)
        // op.get("strides")[a]
        + 1
        for a in range(rank)
    )


def conv(
    kernel: Shape,
    strides: Shape = (1, 1),
    pads: Shape = (0, 0, 0, 0),
    dilations: Shape = (1, 1),
    group: int = 1,
) -> Op:
    """A weight-free convolution; its place in the graph is set by `chain`."""
    return Op.make(
        "Conv",
        (0,),
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=group,
    )


def _of_convolution(source: Shape, op: Op, channels: int) -> Iterator[Variant]:
    group = op.get("group")
    if group == 1:
        yield from _separable(source, op, channels)
        yield from _low_rank(source, op, channels)
        yield from _depthwise_separable(source, op, channels)
        yield from _grouped(source, op, channels)
    if group in (1, source[1]):
        yield from _cropped(source, op, channels)


def _widths(channels: int) -> list[int]:
    rounded = (max(1, -(-int(channels * share) // WIDTH_STEP)) * WIDTH_STEP for share in SHARES)
    return list(dict.fromkeys(rounded))


def _separable(source: Shape, op: Op, channels: int) -> Iterator[Variant]:
    (kh, kw), (sy, sx) = op.get("kernel_shape"), op.get("strides")
    (top, left, bottom, right), (dy, dx) = op.get("pads"), op.get("dilations")
    if kh == 1 or kw == 1:
        return
    vertical = conv((kh, 1), (sy, 1), (top, 0, bottom, 0), (dy, 1))
    horizontal = conv((1, kw), (1, sx), (0, left, 0, right), (1, dx))
    for width in _widths(channels):
        yield Variant("separable", chain(source, [(vertical, width), (horizontal, channels)]))
        yield Variant("separable", chain(source, [(horizontal, width), (vertical, channels)]))


def _low_rank(source: Shape, op: Op, channels: int) -> Iterator[Variant]:
    point = conv((1, 1))
    for width in _widths(min(channels, source[1])):
        if width < max(channels, source[1]):
            yield Variant("low_rank", chain(source, [(op, width), (point, channels)]))
        if width < source[1] and op.get("kernel_shape") != (1, 1):
            yield Variant("low_rank", chain(source, [(point, width), (op, channels)]))


def _depthwise_separable(source: Shape, op: Op, channels: int) -> Iterator[Variant]:
    if op.get("kernel_shape") == (1, 1):
        return
    point = conv((1, 1))
    first = op.with_attributes(group=source[1])
    yield Variant("depthwise_separable", chain(source, [(first, source[1]), (point, channels)]))
    if op.get("strides") == (1, 1):
        last = op.with_attributes(group=channels)
        yield Variant("depthwise_separable", chain(source, [(point, channels), (last, channels)]))


def _grouped(source: Shape, op: Op, channels: int) -> Iterator[Variant]:
    for group in (2, 4):
        if source[1] % (group * WIDTH_STEP) == 0 and channels % (group * WIDTH_STEP) == 0:
            yield Variant("grouped", chain(source, [(op.with_attributes(group=group), channels)]))


def _cropped(source: Shape, op: Op, channels: int) -> Iterator[Variant]:
    """Smaller windows at the middle offsets, where the pads stay non-negative."""
    (kh, kw), (dy, dx) = op.get("kernel_shape"), op.get("dilations")
    top, left, bottom, right = op.get("pads")
    for (height, y), (width, x) in product(_crops(kh), _crops(kw)):
        end_y, end_x = kh - height - y, kw - width - x
        pads = (top - y * dy, left - x * dx, bottom - end_y * dy, right - end_x * dx)
        if min(pads) >= 0 and (height, width) != (kh, kw):
            smaller = op.with_attributes(kernel_shape=(height, width), pads=pads)
            yield Variant("smaller_kernel", chain(source, [(smaller, channels)]))


def _crops(size: int) -> list[tuple[int, int]]:
    """(length, offset) of parts of one kernel axis: one point, half of it, up to two less, all."""
    lengths = sorted({1, -(-size // 2), max(1, size - 2), max(1, size - 1), size})
    return [
        (length, offset)
        for length in lengths
        for offset in sorted({(size - length) // 2, -(-(size - length) // 2)})
    ]


def _narrower(segment: OpGraph) -> Iterator[Variant]:
    """Fewer channels between two convolutions."""
    first, activation, last = segment.ops
    inner, outer = segment.op_shapes[0][1], segment.op_shapes[2][1]
    if first.get("group") != 1 or last.get("group") != 1:
        return
    for width in _widths(inner)[1:]:
        steps = [(first, width), (activation, width), (last, outer)]
        yield Variant("narrower", chain(segment.input_shapes[0], steps))


def _linearized(segment: OpGraph) -> Iterator[Variant]:
    """The two convolutions and the activation between them as one convolution, or its variants."""
    first, _, last = segment.ops
    source, channels = segment.input_shapes[0], segment.op_shapes[2][1]
    strides = tuple(a * b for a, b in zip(first.get("strides"), last.get("strides"), strict=True))
    wide = max(first, last, key=lambda op: op.get("kernel_shape"))
    single = conv(wide.get("kernel_shape"), strides, wide.get("pads"), wide.get("dilations"))
    graph = chain(source, [(single, channels)])
    if graph.output_shapes != segment.output_shapes:
        return
    yield Variant("linearized", graph)
    for variant in _of_convolution(source, single, channels):
        yield Variant("linearized", variant.graph)
