"""A network of any depth with what exporters leave in: batch norms, copies, shape scaffolding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

CHANNELS, SIDE = 4, 8


def deep_graph(nodes: int) -> onnx.ModelProto:
    """Residual blocks on float[N,4,8,8], at least so many nodes; random but fixed weights.

    Every block is Conv, BatchNormalization, Relu, Add; every fourth one computes a Reshape's target
    from its own shape, and copies the result.
    """
    builder = _Builder(np.random.default_rng(0))
    x = "x"
    while len(builder.nodes) < nodes:
        x = builder.block(x)
    shape: list[str | int | None] = ["N", CHANNELS, SIDE, SIDE]
    value = helper.make_tensor_value_info
    inputs, outputs = ([value(n, onnx.TensorProto.FLOAT, shape)] for n in ("x", x))
    graph = helper.make_graph(builder.nodes, "deep", inputs, outputs, builder.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class _Builder:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.blocks = 0
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def block(self, x: str) -> str:
        self.blocks += 1
        weight = self.rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) * 0.2
        y = self.add("Conv", x, self.constant(weight.astype(np.float32)), pads=[1, 1, 1, 1])
        statistics = np.abs(self.rng.standard_normal((4, CHANNELS))) + 0.5
        y = self.add("BatchNormalization", y, *map(self.constant, statistics.astype(np.float32)))
        y = self.add("Relu", y)
        if self.blocks % 4 == 0:
            y = self.scaffolded(y)
        return self.add("Add", y, x)

    def scaffolded(self, x: str) -> str:
        batch = self.add("Gather", self.add("Shape", x), self.constant(np.array(0)))
        batch = self.add("Unsqueeze", batch, self.constant(np.array([0])))
        rest = self.constant(np.array([CHANNELS, SIDE, SIDE]))
        target = self.add("Concat", batch, rest, axis=0)
        return self.add("Identity", self.add("Reshape", x, target))

    def add(self, op: str, *operands: str, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, operands, [name], name, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"k{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name
