"""Cheaper forms of one convolution or matrix product, as weight-free graphs of their own.

Which of them pay on ONNX Runtime is measured later, never assumed: a low-rank 3x3 -> 1x1 pair
halves the multiply-accumulates of 16 channels and takes 1.2 times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from operator import lt

from autogo_onnx.opgraph import Op, OpGraph, Shape

SHARES = (1.0, 0.75, 0.5, 0.25)
WIDTH_STEP = 8
FINE_SHARES = tuple(eighths / 8 for eighths in range(8, 1, -1))
FINE_STEP = 4
PRODUCTS = frozenset({"Gemm", "MatMul"})
"""Kinds that multiply with a matrix, on the last axis."""

Named = tuple[str, OpGraph]
Widths = Callable[[int], list[int]]
"""From a number of channels to the widths that may stand for it, the largest first."""


def chain(source: Shape, steps: list[tuple[Op, int]]) -> OpGraph:
    """A chain of operators; each step tells its output channels.

    Convolutions (transposed ones too) and matrix products change the shape, others leave it.
    """
    shapes, ops, shape = [], [], source
    for index, (op, channels) in enumerate(steps):
        if op.kind in {"Conv", "ConvTranspose"}:
            shape = (shape[0], channels, *_spatial(shape[2:], op))
        elif op.kind in PRODUCTS:
            shape = (*shape[:-1], channels)
        ops.append(Op(op.kind, (index,), op.attributes))
        shapes.append(shape)
    return OpGraph((source,), tuple(ops), tuple(shapes), (len(ops),))


def _spatial(size: Shape, op: Op) -> Shape:
    kernel, strides = op.get("kernel_shape"), op.get("strides")
    rank, pads = len(kernel), op.get("pads")
    extra = op.get("output_padding", (0,) * rank)
    lengths = []
    for axis, length in enumerate(size):
        span = op.get("dilations")[axis] * (kernel[axis] - 1) + 1
        padding = pads[axis] + pads[axis + rank]
        if op.kind == "ConvTranspose":
            lengths.append((length - 1) * strides[axis] + extra[axis] + span - padding)
        else:
            lengths.append((length + padding - span) // strides[axis] + 1)
    return tuple(lengths)


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


def rounded_widths(
    channels: int, shares: tuple[float, ...] = SHARES, step: int = WIDTH_STEP
) -> list[int]:
    """Shares of a number of channels, rounded up to multiples of `step`; each once.

    >>> rounded_widths(24)
    [24, 16, 8]
    """
    rounded = (max(1, -(-int(channels * share) // step)) * step for share in shares)
    return list(dict.fromkeys(rounded))


def fine_widths(channels: int) -> list[int]:
    """Eighths of a number of channels, for a target that no block layout of channels slows down.

    >>> fine_widths(24)
    [24, 20, 16, 12, 8]
    """
    return rounded_widths(channels, FINE_SHARES, FINE_STEP)


def of_convolution(
    source: Shape, op: Op, channels: int, widths: Widths = rounded_widths
) -> Iterator[Named]:
    """Every form of a two-dimensional convolution, by name; `widths` tells the ranks."""
    group = op.get("group")
    if group == 1:
        yield from named("separable", _separable(source, op, channels, widths))
        yield from named("low_rank", _low_rank(source, op, channels, widths))
        yield from named("depthwise_separable", depthwise_separable(source, op, channels))
        yield from named("grouped", grouped(source, op, channels))
    if group in (1, source[1]):
        yield from named("smaller_kernel", _cropped(source, op, channels))


def named(name: str, graphs: Iterable[OpGraph]) -> Iterator[Named]:
    """Graphs with the name of what they are."""
    return ((name, graph) for graph in graphs)


def _separable(source: Shape, op: Op, channels: int, widths: Widths) -> Iterator[OpGraph]:
    for width in widths(channels):
        yield from separable(source, op, channels, width)


def separable(source: Shape, op: Op, channels: int, width: int) -> Iterator[OpGraph]:
    """A column and a row of the kernel one after the other, with `width` channels in between."""
    if len(op.get("kernel_shape")) != 2 or 1 in op.get("kernel_shape"):
        return
    (kh, kw), (sy, sx) = op.get("kernel_shape"), op.get("strides")
    (top, left, bottom, right), (dy, dx) = op.get("pads"), op.get("dilations")
    vertical = conv((kh, 1), (sy, 1), (top, 0, bottom, 0), (dy, 1))
    horizontal = conv((1, kw), (1, sx), (0, left, 0, right), (1, dx))
    yield chain(source, [(vertical, width), (horizontal, channels)])
    yield chain(source, [(horizontal, width), (vertical, channels)])


def _low_rank(source: Shape, op: Op, channels: int, widths: Widths) -> Iterator[OpGraph]:
    for width in widths(min(channels, source[1])):
        yield from low_rank(source, op, channels, width)


def low_rank_at(share: float, source: Shape, op: Op, channels: int) -> Iterator[OpGraph]:
    """Of a share of the smaller number of channels."""
    smaller = min(channels, source[-1] if op.kind in PRODUCTS else source[1])
    yield from low_rank(source, op, channels, rounded_widths(smaller, (share,))[0])


def separable_at(share: float, source: Shape, op: Op, channels: int) -> Iterator[OpGraph]:
    """With a share of the output's channels in between."""
    yield from separable(source, op, channels, rounded_widths(channels, (share,))[0])


def low_rank(source: Shape, op: Op, channels: int, width: int) -> Iterator[OpGraph]:
    """The operator to or from few channels, and a 1x1 convolution for the rest of the way."""
    point = _point(op)
    given = source[-1] if op.kind in PRODUCTS else source[1]
    if width < max(channels, given):
        yield chain(source, [(op, width), (point, channels)])
    if width < given and set(op.get("kernel_shape", ())) - {1}:
        yield chain(source, [(point, width), (op, channels)])


def _point(op: Op) -> Op:
    """What mixes channels and nothing else, with as many axes as an operator."""
    if op.kind in PRODUCTS:
        return Op(op.kind, (0,))
    rank = len(op.get("kernel_shape"))
    return conv((1,) * rank, (1,) * rank, (0,) * 2 * rank, (1,) * rank)


def depthwise_separable(source: Shape, op: Op, channels: int) -> Iterator[OpGraph]:
    """The window on every channel alone, and a 1x1 convolution before or after it."""
    if set(op.get("kernel_shape")) == {1}:
        return
    point = _point(op)
    first = op.with_attributes(group=source[1])
    yield chain(source, [(first, source[1]), (point, channels)])
    if op.kind == "ConvTranspose" or set(op.get("strides")) == {1}:
        last = op.with_attributes(group=channels)
        yield chain(source, [(point, channels), (last, channels)])


def grouped(source: Shape, op: Op, channels: int) -> Iterator[OpGraph]:
    """Two or four groups, of whole blocks of channels."""
    for group in (2, 4):
        if source[1] % (group * WIDTH_STEP) == 0 and channels % (group * WIDTH_STEP) == 0:
            yield chain(source, [(op.with_attributes(group=group), channels)])


def _cropped(source: Shape, op: Op, channels: int) -> Iterator[OpGraph]:
    """Smaller windows at the middle offsets."""
    kernel = op.get("kernel_shape")
    for parts in product(*map(_crops, kernel)):
        yield from crop(source, op, channels, parts)


def crop(
    source: Shape, op: Op, channels: int, parts: tuple[tuple[int, int], ...]
) -> Iterator[OpGraph]:
    """A part of the window in its place, if the pads can stay non-negative.

    A transposed convolution keeps a window that leaves no gaps between strides.

    Args:
        source, op, channels: the operator between its shapes.
        parts: (length, offset) along every axis of the kernel.
    """
    kernel, dilations, pads = op.get("kernel_shape"), op.get("dilations"), op.get("pads")
    rank = len(kernel)
    lengths = tuple(length for length, _ in parts)
    axes = range(rank)
    begins = (pads[a] - parts[a][1] * dilations[a] for a in axes)
    ends = (pads[a + rank] - (kernel[a] - sum(parts[a])) * dilations[a] for a in axes)
    cut = (*begins, *ends)
    if op.kind == "ConvTranspose" and any(map(lt, lengths, op.get("strides"))):
        return
    if min(cut) >= 0 and lengths != kernel:
        smaller = op.with_attributes(kernel_shape=lengths, pads=cut)
        yield chain(source, [(smaller, channels)])


def cropped_by_two(source: Shape, op: Op, channels: int) -> Iterator[OpGraph]:
    """5x5 to 3x3, 3x3 to 1x1, 1x7 to 1x5."""
    parts = tuple((k - 2, 1) if k > 2 else (k, 0) for k in op.get("kernel_shape"))
    yield from crop(source, op, channels, parts)


def cropped_to_point(source: Shape, op: Op, channels: int) -> Iterator[OpGraph]:
    """Any window to 1x1."""
    parts = tuple((1, (k - 1) // 2) for k in op.get("kernel_shape"))
    yield from crop(source, op, channels, parts)


def _crops(size: int) -> list[tuple[int, int]]:
    """(length, offset) of parts of one kernel axis: one point, half of it, up to two less, all."""
    lengths = sorted({1, -(-size // 2), max(1, size - 2), max(1, size - 1), size})
    return [
        (length, offset)
        for length in lengths
        for offset in sorted({(size - length) // 2, -(-(size - length) // 2)})
    ]
