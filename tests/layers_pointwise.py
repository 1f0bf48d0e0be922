"""Activations as operators, and spelled out in the many ways of exporters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from layer_map import Map

if TYPE_CHECKING:
    from random_nets import Builder


def activation(build: Builder, x: Map) -> Map:
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


def swish(build: Builder, x: Map) -> Map:
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
