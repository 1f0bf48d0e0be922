"""Layers without weights that pool, enlarge, pad, cut, join and move what they read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from layer_map import LARGEST, Map, divisor, window

if TYPE_CHECKING:
    from random_nets import Builder


def pool(build: Builder, x: Map) -> Map | None:
    choice = build.choice
    kind = choice.choice(["MaxPool", "AveragePool"])
    kernel, stride = choice.choice([(2, 2), (3, 2), (3, 1), (2, 1), (1, 1), (1, 2)])
    pad = choice.choice([0, kernel // 2])
    attributes: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2}
    if pad:
        attributes["pads"] = [pad] * 4
    if kind == "AveragePool" and choice.random() < 0.5:
        attributes["count_include_pad"] = 1
    sizes = [window(d, kernel, stride, 1, 2 * pad) for d in (x.heights, x.widths)]
    if min(*sizes[0], *sizes[1]) < 1:
        return None
    return Map(build.write.node(kind, x.name, **attributes), x.channels, *sizes)


def resize(build: Builder, x: Map) -> Map | None:
    if x.largest > LARGEST // 2:
        return None
    factor = build.choice.choice([2, 2, 3])
    mode = build.choice.choice(["nearest", "nearest", "linear"])
    name = build.write.enlarge(x.name, factor, mode)
    return Map(name, x.channels, *(tuple(n * factor for n in d) for d in (x.heights, x.widths)))


def pad(build: Builder, x: Map) -> Map:
    choice = build.choice
    mode = choice.choice(["constant", "constant", "constant", "reflect", "edge"])
    top, left, bottom, right = (choice.randint(0, min(2, x.smallest - 1)) for _ in range(4))
    before, after = 0, 0
    if mode == "constant" and choice.random() < 0.2:
        before, after = choice.randint(0, 2), choice.randint(0, 2)
    value = choice.choice([0.0, 0.0, 0.0, 1.5]) if mode == "constant" else 0.0
    pads = [0, before, top, left, 0, after, bottom, right]
    name = build.write.pad(x.name, pads, mode, value)
    heights = tuple(n + top + bottom for n in x.heights)
    widths = tuple(n + left + right for n in x.widths)
    return Map(name, x.channels + before + after, heights, widths)


def cut(build: Builder, x: Map) -> Map | None:
    choice, write = build.choice, build.write
    if x.channels > 1 and choice.random() < 0.5:
        end = choice.randint(1, x.channels - 1)
        name = write.cut(x.name, 1, 0, end)
        return replace(x, name=name, channels=end)
    if x.smallest < 3:
        return None
    if write.opset >= 10 and choice.random() < 0.4:
        name = write.cut(x.name, 2, 0, 2**62, 2)
        return replace(x, name=name, heights=tuple((n + 1) // 2 for n in x.heights))
    name = write.cut(x.name, 3, 1, choice.choice([2**62, 2**31 - 1]))
    return replace(x, name=name, widths=tuple(n - 1 for n in x.widths))


def split_concat(build: Builder, x: Map) -> Map | None:
    """Split and concatenate again, in order, in another order, or with something in between."""
    if x.channels < 2:
        return None
    choice, write = build.choice, build.write
    first = choice.randint(1, x.channels - 1)
    parts = write.parts(x.name, 1, [first, x.channels - first])
    how = choice.randrange(3)
    if how == 1:
        parts.reverse()
    elif how == 2:
        parts[0] = write.node("Relu", parts[0])
    return replace(x, name=write.node("Concat", *parts, axis=1))


def concat(build: Builder, x: Map) -> Map | None:
    sizes = (x.heights, x.widths)
    others = [
        m for m in build.seen if (m.heights, m.widths) == sizes and m.channels + x.channels < 17
    ]
    if not others:
        return None
    other = build.choice.choice(others)
    pair = [x, other] if build.choice.random() < 0.5 else [other, x]
    name = build.write.node("Concat", *(m.name for m in pair), axis=1)
    return replace(x, name=name, channels=x.channels + other.channels)


def nhwc(build: Builder, x: Map) -> Map:
    """Something between two transposes, as TensorFlow's exporters leave it."""
    choice, write = build.choice, build.write
    name = write.node("Transpose", x.name, perm=[0, 2, 3, 1])
    kind = choice.randrange(5)
    if kind == 1:
        name = write.node("Relu", name)
    elif kind == 2:
        name = write.node("Add", name, write.normal(x.channels))
    elif kind == 3:
        name = write.node("Mul", name, write.normal(x.channels, scale=0.5))
    elif kind == 4:
        shape = write.node("Shape", name)
        name = write.node("Reshape", name, shape)
    back = write.node("Transpose", name, perm=[0, 3, 1, 2])
    return replace(x, name=back)


def nothing(build: Builder, x: Map) -> Map:
    """Nodes that do nothing, or next to nothing."""
    choice, write = build.choice, build.write
    kind = choice.randrange(9)
    if kind == 0:
        name = write.node("Identity", x.name)
    elif kind == 1:
        name = write.dropout(x.name)
    elif kind == 2:
        name = write.node("Cast", x.name, to=1)
    elif kind == 3:
        name = write.node("Reshape", x.name, write.node("Shape", x.name))
    elif kind == 4:
        shape = (0, x.channels, -1, x.widths[0]) if not build.size_is_open else (0, 0, 0, -1)
        name = write.node("Reshape", x.name, write.integers(*shape))
    elif kind == 5:
        name = write.squeeze(write.unsqueeze(x.name, 2), 2)
    elif kind == 6:
        name = write.cut(x.name, choice.randrange(4), 0, 2**62)
    elif kind == 7:
        name = write.pad(x.name, [0] * 8)
    else:
        name = write.node("Concat", x.name, axis=1)
    return replace(x, name=name)


def shuffle(build: Builder, x: Map) -> Map:
    """Channel shuffle, with its shape computed or not."""
    write = build.write
    groups = divisor(build.choice, x.channels)
    if build.size_is_open:
        shape = write.node("Shape", x.name)
        sizes = write.cut(shape, 0, 2, 4)
        inner = write.integers(groups, x.channels // groups)
        batch = write.unsqueeze(write.node("Gather", shape, write.constant(0, np.int64)), 0)
        name = write.node("Reshape", x.name, write.node("Concat", batch, inner, sizes, axis=0))
        name = write.node("Transpose", name, perm=[0, 2, 1, 3, 4])
        return replace(x, name=write.node("Reshape", name, shape))
    height, width = x.heights[0], x.widths[0]
    inner = write.integers(-1, groups, x.channels // groups, height, width)
    name = write.node("Reshape", x.name, inner)
    name = write.node("Transpose", name, perm=[0, 2, 1, 3, 4])
    return replace(
        x, name=write.node("Reshape", name, write.integers(-1, x.channels, height, width))
    )


def depth_to_space(build: Builder, x: Map) -> Map | None:
    if x.channels % 4 or x.largest > LARGEST // 2:
        return None
    mode: dict[str, Any] = (
        {"mode": "CRD"} if build.write.opset >= 11 and build.choice.random() < 0.5 else {}
    )
    name = build.write.node("DepthToSpace", x.name, blocksize=2, **mode)
    sizes = (tuple(2 * n for n in d) for d in (x.heights, x.widths))
    return Map(name, x.channels // 4, *sizes)
