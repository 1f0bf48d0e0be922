"""The layers that random networks are made of, each as some exporter spells it.

A layer takes the builder and the map it continues, and gives the map it made; None where it does
not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from random_nets import Builder

_LARGEST = 40


@dataclass(frozen=True)
class Map:
    """A tensor float[N,channels,H,W], its H and W given for every probe."""

    name: str
    channels: int
    heights: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def smallest(self) -> int:
        """The smallest height or width."""
        return min(*self.heights, *self.widths)

    @property
    def largest(self) -> int:
        """The largest height or width."""
        return max(*self.heights, *self.widths)

    def is_like(self, other: Map) -> bool:
        """Whether both have one shape, for every probe."""
        return replace(self, name="") == replace(other, name="")


def _divisor(choice: Random, *numbers: int) -> int:
    """A common divisor."""
    return choice.choice(
        [d for d in range(1, min(numbers) + 1) if all(n % d == 0 for n in numbers)]
    )


def _window(
    sizes: tuple[int, ...], kernel: int, stride: int, dilation: int, pads: int
) -> tuple[int, ...]:
    return tuple((n + pads - dilation * (kernel - 1) - 1) // stride + 1 for n in sizes)


def _conv_weight(build: Builder, *shape: int) -> str:
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
    return (_divisor(choice, x.channels, out) if kind < 0.4 else 1), out


def _conv(build: Builder, x: Map) -> Map | None:
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
            _window(n, kernel[i], strides[i], dilations[i], pads[i] + pads[i + 2])
            for i, n in enumerate((x.heights, x.widths))
        ]
        attributes |= {"pads": pads} if any(pads) or choice.random() < 0.5 else {}
    if min(*sizes[0], *sizes[1]) < 1:
        return None
    attributes |= {"kernel_shape": kernel} if choice.random() < 0.7 else {}
    for name, value in (("strides", strides), ("dilations", dilations), ("group", group)):
        if value not in ([1, 1], 1) or choice.random() < 0.5:
            attributes[name] = value
    operands = [x.name, _conv_weight(build, out, x.channels // group, *kernel)]
    if choice.random() < 0.6:
        operands.append(build.write.normal(out))
    return Map(build.write.node("Conv", *operands, **attributes), out, sizes[0], sizes[1])


def _conv_transpose(build: Builder, x: Map) -> Map | None:
    if x.largest > _LARGEST // 2:
        return None
    choice = build.choice
    kernel, stride = choice.choice([(2, 2), (3, 1), (4, 2), (3, 2), (1, 1)])
    pad, extra = (1, stride - 1) if kernel == 3 else (choice.randint(0, (kernel - 1) // 2), 0)
    out = choice.choice([1, 2, 4])
    group = _divisor(choice, x.channels, out)
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


def _batch_norm(build: Builder, x: Map) -> Map:
    write, c = build.write, x.channels
    scale = write.noise.standard_normal(c)
    if build.choice.random() < 0.1:
        scale[0] = 0
    variance = write.constant(write.noise.random(c) + 0.01)
    parameters = (write.constant(scale), write.normal(c), write.normal(c), variance)
    epsilon: dict[str, Any] = {"epsilon": 1e-3} if build.choice.random() < 0.5 else {}
    return replace(x, name=write.node("BatchNormalization", x.name, *parameters, **epsilon))


def _arithmetic(build: Builder, x: Map) -> Map:
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


def _activation(build: Builder, x: Map) -> Map:
    choice, write = build.choice, build.write
    plain = ["Relu", "Relu", "Sigmoid", "Tanh", "Elu", "Softplus", "HardSigmoid"]
    kind = choice.choice([*plain, "LeakyRelu", "PRelu", "Clip", "HardSwish"])
    if kind == "Clip":
        crossed = [(2.0, 1.0)] if write.opset >= 11 else []  # before, ONNX Runtime refuses them
        bounds = choice.choice([(0.0, 6.0), (-1.0, 1.0), (0.0, 3e38), *crossed])
        return replace(x, name=write.clip(x.name, *bounds))
    if kind == "PRelu":
        shape = choice.choice([(x.channels, 1, 1), (1,), (1, x.channels, 1, 1)])
        return replace(x, name=write.node(kind, x.name, write.normal(*shape)))
    if kind == "HardSwish" and write.opset < 14:
        kind = "Relu"
    given: dict[str, Any] = {}
    if kind == "HardSigmoid" and choice.random() < 0.6:
        given = choice.choice([{"alpha": 1 / 6, "beta": 0.5}, {"alpha": 0.3}, {"beta": 0.1}])
    return replace(x, name=write.node(kind, x.name, **given))


class _Terms:
    """Products and sums with scalars of any shape, in any order."""

    def __init__(self, build: Builder, x: Map) -> None:
        self.choice, self.write, self.channels = build.choice, build.write, x.channels

    def scalar(self, value: float) -> str:
        shape = self.choice.choice([(), (1,), (1, 1, 1, 1), (), (self.channels, 1, 1)])
        return self.write.constant(np.full(shape, value))

    def times(self, one: str, other: str | float) -> str:
        pair = [one, self.scalar(other) if isinstance(other, float) else other]
        return self.write.node("Mul", *(pair if self.choice.random() < 0.5 else pair[::-1]))

    def plus(self, one: str, value: float) -> str:
        pair = [one, self.scalar(value)]
        return self.write.node("Add", *(pair if self.choice.random() < 0.7 else pair[::-1]))


def _swish(build: Builder, x: Map) -> Map:
    """HardSwish, SiLU, GELU and Mish as exporters spell them, and as nobody should."""
    choice, write, t = build.choice, build.write, _Terms(build, x)
    kind = choice.choice(["hard", "hard", "silu", "gelu", "gelu_tanh", "mish", "quick"])
    if kind == "hard":
        name = _hard_swish(build, x, t)
    elif kind == "silu":
        name = t.times(x.name, write.node("Sigmoid", x.name))
    elif kind == "quick":
        name = t.times(x.name, write.node("Sigmoid", t.times(x.name, 1.702)))
    elif kind == "gelu" and write.opset >= 9:
        name = _gelu(build, x, t)
    elif kind == "gelu_tanh":
        cube = write.node("Pow", x.name, t.scalar(3.0))
        inner = write.node("Add", x.name, t.times(cube, 0.044715))
        tanh = write.node("Tanh", t.times(inner, (2 / np.pi) ** 0.5))
        name = t.times(t.times(x.name, 0.5), t.plus(tanh, 1.0))
    else:
        name = t.times(x.name, write.node("Tanh", write.node("Softplus", x.name)))
    return replace(x, name=name)


def _hard_swish(build: Builder, x: Map, t: _Terms) -> str:
    choice, write = build.choice, build.write
    three, six = choice.choice([(3.0, 6.0)] * 4 + [(3.5, 7.0), (3.0, 5.0)])
    gate = write.clip(t.plus(x.name, three), 0.0, six)
    order = choice.randrange(4)
    if order == 0:
        return write.node("Div", t.times(x.name, gate), t.scalar(six))
    if order == 1:
        return t.times(x.name, write.node("Div", gate, t.scalar(six)))
    if order == 2:
        return t.times(x.name, t.times(gate, 1 / six))
    return t.times(t.times(x.name, gate), 1 / six)


def _gelu(build: Builder, x: Map, t: _Terms) -> str:
    choice, write = build.choice, build.write
    if choice.random() < 0.7:
        inner = write.node("Div", x.name, t.scalar(2**0.5))
    else:
        inner = t.times(x.name, 0.5**0.5)
    bracket = t.plus(write.node("Erf", inner), 1.0)
    if choice.random() < 0.5:
        return t.times(t.times(x.name, bracket), 0.5)
    return t.times(t.times(x.name, 0.5), bracket)


def _pool(build: Builder, x: Map) -> Map | None:
    choice = build.choice
    kind = choice.choice(["MaxPool", "AveragePool"])
    kernel, stride = choice.choice([(2, 2), (3, 2), (3, 1), (2, 1), (1, 1), (1, 2)])
    pad = choice.choice([0, kernel // 2])
    attributes: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2}
    if pad:
        attributes["pads"] = [pad] * 4
    if kind == "AveragePool" and choice.random() < 0.5:
        attributes["count_include_pad"] = 1
    sizes = [_window(d, kernel, stride, 1, 2 * pad) for d in (x.heights, x.widths)]
    if min(*sizes[0], *sizes[1]) < 1:
        return None
    return Map(build.write.node(kind, x.name, **attributes), x.channels, *sizes)


def _resize(build: Builder, x: Map) -> Map | None:
    if x.largest > _LARGEST // 2:
        return None
    factor = build.choice.choice([2, 2, 3])
    mode = build.choice.choice(["nearest", "nearest", "linear"])
    name = build.write.enlarge(x.name, factor, mode)
    return Map(name, x.channels, *(tuple(n * factor for n in d) for d in (x.heights, x.widths)))


def _pad(build: Builder, x: Map) -> Map:
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


def _cut(build: Builder, x: Map) -> Map | None:
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


def _split_concat(build: Builder, x: Map) -> Map | None:
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


def _concat(build: Builder, x: Map) -> Map | None:
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


def _residual(build: Builder, x: Map) -> Map | None:
    others = [m for m in build.seen if m.is_like(x) and m is not x]
    if not others:
        return None
    kind = build.choice.choice(["Add", "Add", "Mul", "Sub"])
    return replace(x, name=build.write.node(kind, x.name, build.choice.choice(others).name))


def _same_conv(build: Builder, x: Map, kernel: int, out: int, *, group: int = 1) -> str:
    """A convolution that keeps height and width, then perhaps a batch norm."""
    weight = _conv_weight(build, out, x.channels // group, kernel, kernel)
    operands = [x.name, weight]
    if build.choice.random() < 0.5:
        operands.append(build.write.normal(out))
    name = build.write.node("Conv", *operands, pads=[kernel // 2] * 4, group=group)
    if build.choice.random() < 0.4:
        name = _batch_norm(build, Map(name, out, x.heights, x.widths)).name
    return name


def _branches(build: Builder, x: Map) -> Map:
    """Parallel convolutions summed, as in RepVGG, MobileOne, ACNet."""
    choice, write = build.choice, build.write
    depthwise = choice.random() < 0.4
    out = x.channels if depthwise or choice.random() < 0.5 else choice.choice([2, 4])
    group = x.channels if depthwise else 1
    kernels = [choice.choice([1, 3, 3, 5]) for _ in range(choice.randint(2, 3))]
    names = [_same_conv(build, x, kernel, out, group=group) for kernel in kernels]
    if out == x.channels and choice.random() < 0.5:
        names.append(x.name if choice.random() < 0.5 else _batch_norm(build, x).name)
    name = names[0]
    if choice.random() < 0.2:
        name = write.node("Sum", *names)
    else:
        for other in names[1:]:
            name = write.node("Add", name, other)
    return replace(x, name=name, channels=out)


def _conv_pair(build: Builder, x: Map) -> Map:
    """Two convolutions with nothing, or only an affine map, in between."""
    middle = build.choice.choice([2, 4, 6, 12])
    kernels = build.choice.choice([(1, 3), (3, 1), (1, 1), (3, 3)])
    inner = replace(x, name=_same_conv(build, x, kernels[0], middle), channels=middle)
    if build.choice.random() < 0.3:
        inner = _arithmetic(build, inner)
    out = build.choice.choice([1, 2, 4])
    return replace(x, name=_same_conv(build, inner, kernels[1], out), channels=out)


def _squeeze_excite(build: Builder, x: Map) -> Map:
    choice, write = build.choice, build.write
    name = (
        write.node("GlobalAveragePool", x.name)
        if choice.random() < 0.5
        else write.mean(x.name, [2, 3])
    )
    point = Map(name, x.channels, (1,) * 3, (1,) * 3)
    point = replace(point, name=write.node("Relu", _same_conv(build, point, 1, 2)), channels=2)
    gate = _same_conv(build, point, 1, x.channels)
    kind = "HardSigmoid" if choice.random() < 0.5 else "Sigmoid"
    return replace(x, name=write.node("Mul", x.name, write.node(kind, gate)))


def _nhwc(build: Builder, x: Map) -> Map:
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


def _nothing(build: Builder, x: Map) -> Map:
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


def _shuffle(build: Builder, x: Map) -> Map:
    """Channel shuffle, with its shape computed or not."""
    write = build.write
    groups = _divisor(build.choice, x.channels)
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


def _depth_to_space(build: Builder, x: Map) -> Map | None:
    if x.channels % 4 or x.largest > _LARGEST // 2:
        return None
    mode: dict[str, Any] = (
        {"mode": "CRD"} if build.write.opset >= 11 and build.choice.random() < 0.5 else {}
    )
    name = build.write.node("DepthToSpace", x.name, blocksize=2, **mode)
    sizes = (tuple(2 * n for n in d) for d in (x.heights, x.widths))
    return Map(name, x.channels // 4, *sizes)


def _twice(build: Builder, x: Map) -> Map:
    """The same thing computed twice."""
    write = build.write
    kind = build.choice.choice(["Relu", "Sigmoid", "Conv"])
    if kind == "Conv":
        weight = write.normal(x.channels, x.channels, 1, 1)
        names = [write.node("Conv", x.name, weight) for _ in range(2)]
    else:
        names = [write.node(kind, x.name) for _ in range(2)]
    return replace(x, name=write.node(build.choice.choice(["Add", "Mul"]), *names))


def _tokens(build: Builder, x: Map) -> Map | None:
    """Pixels as tokens: layer norm spelled out, MatMul and Add, and back."""
    if x.channels < 2:
        return None
    choice, write = build.choice, build.write
    name = write.node("Reshape", x.name, write.integers(0, x.channels, -1))
    name = write.node("Transpose", name, perm=[0, 2, 1])
    if choice.random() < 0.6:
        name = _layer_norm(build, name, x.channels)
    width = choice.choice([2, 4, x.channels])
    name = write.node("MatMul", name, write.normal(x.channels, width, scale=0.5))
    bias = write.normal(width)
    name = write.node("Add", *([name, bias] if choice.random() < 0.7 else [bias, name]))
    if choice.random() < 0.3:
        name = write.node("Softmax", name, axis=-1 if write.opset > 10 else 2)
    if build.size_is_open:
        shape = write.node("Shape", x.name)
        parts = [write.cut(shape, 0, 0, 1), write.integers(width), write.cut(shape, 0, 2, 4)]
        target = write.node("Concat", *parts, axis=0)
    else:
        target = write.integers(-1, width, x.heights[0], x.widths[0])
    name = write.node("Transpose", name, perm=[0, 2, 1])
    return replace(x, name=write.node("Reshape", name, target), channels=width)


def _layer_norm(build: Builder, name: str, width: int) -> str:
    """Over the last axis of three, in the spellings of torch's exporters."""
    choice, write = build.choice, build.write
    axis = choice.choice([-1, 2]) if write.opset >= 11 else 2
    centred = write.node("Sub", name, write.mean(name, [axis]))
    if choice.random() < 0.7:
        square = write.node("Pow", centred, write.constant(2.0))
    else:
        square = write.node("Mul", centred, centred)
    spread = write.node("Add", write.mean(square, [axis]), write.constant(1e-5))
    name = write.node("Div", centred, write.node("Sqrt", spread))
    if choice.random() < 0.8:
        name = write.node("Add", write.node("Mul", name, write.normal(width)), write.normal(width))
    return name


def head(build: Builder, x: Map) -> str:
    """A classifier's last layers."""
    choice, write = build.choice, build.write
    if build.size_is_open or choice.random() < 0.6:
        name = (
            write.node("GlobalAveragePool", x.name)
            if choice.random() < 0.6
            else write.mean(x.name, [2, 3])
        )
        width = x.channels
    else:
        name, width = x.name, x.channels * x.heights[0] * x.widths[0]
    if choice.random() < 0.5:
        name = write.node("Flatten", name)
    else:
        name = write.node("Reshape", name, write.integers(-1, width))
    classes = choice.choice([1, 3, 5])
    if choice.random() < 0.6:
        transposed = choice.randint(0, 1)
        shape = (classes, width) if transposed else (width, classes)
        given: dict[str, Any] = {"alpha": 0.5, "beta": 2.0} if choice.random() < 0.2 else {}
        operands = [name, write.normal(*shape, scale=width**-0.5), write.normal(classes)]
        name = write.node("Gemm", *operands, transB=transposed, **given)
    else:
        name = write.node("MatMul", name, write.normal(width, classes, scale=width**-0.5))
        name = write.node("Add", name, write.normal(classes))
    if choice.random() < 0.3:
        parameters = [write.normal(classes) for _ in range(3)]
        name = write.node(
            *("BatchNormalization", name, *parameters),
            write.constant(write.noise.random(classes) + 0.1),
        )
    return write.node("Softmax", name, axis=1) if choice.random() < 0.3 else name


LAYERS: dict[str, Callable[[Builder, Map], Map | None]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "batch_norm": _batch_norm,
    "arithmetic": _arithmetic,
    "activation": _activation,
    "swish": _swish,
    "pool": _pool,
    "resize": _resize,
    "pad": _pad,
    "cut": _cut,
    "split_concat": _split_concat,
    "concat": _concat,
    "residual": _residual,
    "branches": _branches,
    "conv_pair": _conv_pair,
    "squeeze_excite": _squeeze_excite,
    "nhwc": _nhwc,
    "nothing": _nothing,
    "shuffle": _shuffle,
    "depth_to_space": _depth_to_space,
    "twice": _twice,
    "tokens": _tokens,
}
"""What a network is made of; most networks are chains of these, with joins to earlier tensors."""
