"""Layers with weights: convolutions alone, in parallel and in a row, batch norms, constants."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from layer_map import LARGEST, Map, divisor, window

if TYPE_CHECKING:
    from random_nets import Builder


def conv_weight(build: Builder, *shape: int) -> str:
    """Normal weights; now and then with dead, equal or denormal filters, or one used before."""
    noise, choice = build.write.noise, build.choice
    weight = noise.standard_normal(shape) / max(1, prod(shape[1:])) ** 0.5
    kind = choice.random()
    if kind < 0.06:
        weight[choice.randrange(shape[0])] = 0
    elif kind < 0.12 and shape[0] > 1:
        weight[1] = weight[0]
    elif kind < 0.16:
        weight[noise.random(shape) < 0.3] *= 1e-39
    elif kind < 0.2:
        weight = np.round(weight * 2)
    elif kind < 0.3:
        same = [t.name for t in build.write.initializers if tuple(t.dims) == shape]
        if same:
            return choice.choice(same)
    return build.write.constant(weight)


def _grouping(build: Builder, x: Map) -> tuple[int, int]:
    """Groups and output channels: plain, depthwise with or without multiplier, grouped."""
    choice = build.choice
    out, kind = choice.choice([1, 2, 3, 4, 6, 8]), choice.random()
    if kind < 0.25:
        return x.channels, x.channels * choice.choice([1, 1, 2])
    return (divisor(choice, x.channels, out) if kind < 0.4 else 1), out


def conv(build: Builder, x: Map) -> Map | None:
    choice = build.choice
    kernel = [choice.choice([1, 1, 2, 3, 3, 3, 5]) for _ in range(2)]
    if choice.random() < 0.6:
        kernel = [kernel[0]] * 2
    strides, dilations = ([choice.choice([1, 1, 1, 2])] * 2 for _ in range(2))
    group, out = _grouping(build, x)
    attributes: dict[str, Any] = {}
    if choice.random() < 0.15 and dilations == [1, 1]:
        attributes["auto_pad"] = choice.choice(["SAME_UPPER", "SAME_LOWER"])
        sizes = [tuple(-(-n // strides[0]) for n in d) for d in (x.heights, x.widths)]
    else:
        pads = [d * (k - 1) // 2 for k, d in zip(kernel, dilations, strict=True)] * 2
        if choice.random() < 0.3:
            pads = [choice.randint(0, 2) for _ in range(4)]
        sizes = [
            window(n, kernel[i], strides[i], dilations[i], pads[i] + pads[i + 2])
            for i, n in enumerate((x.heights, x.widths))
        ]
        attributes |= {"pads": pads} if any(pads) or choice.random() < 0.5 else {}
    if min(*sizes[0], *sizes[1]) < 1:
        return None
    attributes |= {"kernel_shape": kernel} if choice.random() < 0.7 else {}
    for name, value in (("strides", strides), ("dilations", dilations), ("group", group)):
        if value not in ([1, 1], 1) or choice.random() < 0.5:
            attributes[name] = value
    operands = [x.name, conv_weight(build, out, x.channels // group, *kernel)]
    if choice.random() < 0.6:
        operands.append(build.write.normal(out))
    return Map(build.write.node("Conv", *operands, **attributes), out, sizes[0], sizes[1])


def conv_transpose(build: Builder, x: Map) -> Map | None:
    if x.largest > LARGEST // 2:
        return None
    choice = build.choice
    kernel, stride = choice.choice([(2, 2), (3, 1), (4, 2), (3, 2), (1, 1)])
    pad, extra = (1, stride - 1) if kernel == 3 else (choice.randint(0, (kernel - 1) // 2), 0)
    out = choice.choice([1, 2, 4])
    group = divisor(choice, x.channels, out)
    operands = [x.name, build.write.normal(x.channels, out // group, kernel, kernel)]
    if choice.random() < 0.5:
        operands.append(build.write.normal(out))
    name = build.write.node(
        "ConvTranspose",
        *operands,
        strides=[stride] * 2,
        pads=[pad] * 4,
        output_padding=[extra] * 2,
        group=group,
    )
    sizes = [
        tuple((n - 1) * stride + kernel + extra - 2 * pad for n in d) for d in (x.heights, x.widths)
    ]
    return Map(name, out, *sizes) if min(*sizes[0], *sizes[1]) > 0 else None


def batch_norm(build: Builder, x: Map) -> Map:
    write, c = build.write, x.channels
    scale = write.noise.standard_normal(c)
    if build.choice.random() < 0.1:
        scale[0] = 0
    variance = write.constant(write.noise.random(c) + 0.01)
    parameters = (write.constant(scale), write.normal(c), write.normal(c), variance)
    epsilon: dict[str, Any] = {"epsilon": 1e-3} if build.choice.random() < 0.5 else {}
    return replace(x, name=write.node("BatchNormalization", x.name, *parameters, **epsilon))


def arithmetic(build: Builder, x: Map) -> Map:
    """Add, Mul, Sub or Div with a constant of any shape that broadcasts into x."""
    choice, c = build.choice, x.channels
    shapes: list[tuple[int, ...]] = [(c, 1, 1), (1, c, 1, 1), (), (1,), (1, 1, 1), (c, 1, 1)]
    if not build.size_is_open:
        shapes += [(x.widths[0],), (x.heights[0], 1), (1, c, x.heights[0], x.widths[0])]
    kind = choice.choice(["Add", "Add", "Mul", "Mul", "Sub", "Div"])
    value = build.write.noise.standard_normal(choice.choice(shapes))
    if choice.random() < 0.15:
        value = np.full_like(value, 1.0 if kind in ("Mul", "Div") else 0.0)
    if kind == "Div":
        value = np.sign(value + 1e-9) * (np.abs(value) + 0.5)
    operands = [x.name, build.write.constant(value)]
    if kind != "Div" and choice.random() < 0.3:
        operands.reverse()
    return replace(x, name=build.write.node(kind, *operands))


def same_conv(build: Builder, x: Map, kernel: int, out: int, *, group: int = 1) -> str:
    """A convolution that keeps height and width, then perhaps a batch norm."""
    weight = conv_weight(build, out, x.channels // group, kernel, kernel)
    operands = [x.name, weight]
    if build.choice.random() < 0.5:
        operands.append(build.write.normal(out))
    name = build.write.node("Conv", *operands, pads=[kernel // 2] * 4, group=group)
    if build.choice.random() < 0.4:
        name = batch_norm(build, Map(name, out, x.heights, x.widths)).name
    return name


def branches(build: Builder, x: Map) -> Map:
    """Parallel convolutions summed, as in RepVGG, MobileOne, ACNet."""
    choice, write = build.choice, build.write
    depthwise = choice.random() < 0.4
    out = x.channels if depthwise or choice.random() < 0.5 else choice.choice([2, 4])
    group = x.channels if depthwise else 1
    kernels = [choice.choice([1, 3, 3, 5]) for _ in range(choice.randint(2, 3))]
    names = [same_conv(build, x, kernel, out, group=group) for kernel in kernels]
    if out == x.channels and choice.random() < 0.5:
        names.append(x.name if choice.random() < 0.5 else batch_norm(build, x).name)
    name = names[0]
    if choice.random() < 0.2:
        name = write.node("Sum", *names)
    else:
        for other in names[1:]:
            name = write.node("Add", name, other)
    return replace(x, name=name, channels=out)


def conv_pair(build: Builder, x: Map) -> Map:
    """Two convolutions with nothing, or only an affine map, in between."""
    middle = build.choice.choice([2, 4, 6, 12])
    kernels = build.choice.choice([(1, 3), (3, 1), (1, 1), (3, 3)])
    inner = replace(x, name=same_conv(build, x, kernels[0], middle), channels=middle)
    if build.choice.random() < 0.3:
        inner = arithmetic(build, inner)
    out = build.choice.choice([1, 2, 4])
    return replace(x, name=same_conv(build, inner, kernels[1], out), channels=out)
