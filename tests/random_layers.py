"""The layers that random networks are made of, each as some exporter spells it.

A layer takes the builder and the map it continues, and gives the map it made; None where it does
not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import layers_linear
import layers_pointwise
import layers_spatial
from layer_map import Map

if TYPE_CHECKING:
    from random_nets import Builder


def residual(build: Builder, x: Map) -> Map | None:
    others = [m for m in build.seen if m.is_like(x) and m is not x]
    if not others:
        return None
    kind = build.choice.choice(["Add", "Add", "Mul", "Sub"])
    return replace(x, name=build.write.node(kind, x.name, build.choice.choice(others).name))


def twice(build: Builder, x: Map) -> Map:
    """The same thing computed twice."""
    write = build.write
    kind = build.choice.choice(["Relu", "Sigmoid", "Conv"])
    if kind == "Conv":
        weight = write.normal(x.channels, x.channels, 1, 1)
        names = [write.node("Conv", x.name, weight) for _ in range(2)]
    else:
        names = [write.node(kind, x.name) for _ in range(2)]
    return replace(x, name=write.node(build.choice.choice(["Add", "Mul"]), *names))


def squeeze_excite(build: Builder, x: Map) -> Map:
    choice, write = build.choice, build.write
    name = (
        write.node("GlobalAveragePool", x.name)
        if choice.random() < 0.5
        else write.mean(x.name, [2, 3])
    )
    point = Map(name, x.channels, (1,) * 3, (1,) * 3)
    squeezed = write.node("Relu", layers_linear.same_conv(build, point, 1, 2))
    point = replace(point, name=squeezed, channels=2)
    gate = layers_linear.same_conv(build, point, 1, x.channels)
    kind = "HardSigmoid" if choice.random() < 0.5 else "Sigmoid"
    return replace(x, name=write.node("Mul", x.name, write.node(kind, gate)))


def tokens(build: Builder, x: Map) -> Map | None:
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
    "conv": layers_linear.conv,
    "conv_transpose": layers_linear.conv_transpose,
    "batch_norm": layers_linear.batch_norm,
    "arithmetic": layers_linear.arithmetic,
    "activation": layers_pointwise.activation,
    "swish": layers_pointwise.swish,
    "pool": layers_spatial.pool,
    "resize": layers_spatial.resize,
    "pad": layers_spatial.pad,
    "cut": layers_spatial.cut,
    "split_concat": layers_spatial.split_concat,
    "concat": layers_spatial.concat,
    "residual": residual,
    "branches": layers_linear.branches,
    "conv_pair": layers_linear.conv_pair,
    "squeeze_excite": squeeze_excite,
    "nhwc": layers_spatial.nhwc,
    "nothing": layers_spatial.nothing,
    "shuffle": layers_spatial.shuffle,
    "depth_to_space": layers_spatial.depth_to_space,
    "twice": twice,
    "tokens": tokens,
}
"""What a network is made of; most networks are chains of these, with joins to earlier tensors."""
