"""Small networks as ONNX models, built node by node, with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autogo_onnx import model as model_file
from autogo_onnx.graph import from_model
from autogo_onnx.segments import Reading, read


class Net:
    """Builds a model; every method returns the name of the new tensor."""

    def __init__(self, *shape: int | str, opset: int = 17, seed: int = 0) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        self.rng = np.random.default_rng(seed)

    def constant(self, value: np.ndarray[Any, Any]) -> str:
        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def random(self, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        values = self.rng.standard_normal(shape) * (2 / fan_in) ** 0.5
        return self.constant(values.astype(np.float32))

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """A node; the name of its first output."""
        names = [f"{kind.lower()}{len(self.nodes)}{'abc'[k]}" for k in range(outputs)]
        node = helper.make_node(kind, inputs, names, f"node{len(self.nodes)}", **attributes)
        self.nodes.append(node)
        return names[0]

    def conv(
        self,
        x: str,
        channels: int,
        outputs: int,
        kernel: int = 3,
        *,
        bias: bool = True,
        **more: Any,
    ) -> str:
        group = more.get("group", 1)
        more.setdefault("kernel_shape", (kernel, kernel))
        if "auto_pad" not in more:
            more.setdefault("pads", (kernel // 2,) * 4)
        weights = [self.random(outputs, channels // group, *more["kernel_shape"])]
        if bias:
            weights.append(
                self.constant(0.1 * self.rng.standard_normal(outputs).astype(np.float32))
            )
        return self.op("Conv", x, *weights, **more)

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def block(self, x: str, channels: int) -> str:
        """A residual block."""
        inner = self.relu(self.conv(x, channels, channels))
        return self.relu(self.op("Add", self.conv(inner, channels, channels), x))

    def classifier(self, x: str, channels: int, classes: int) -> str:
        """The mean of the scores hardly varies, as training leaves it."""
        flat = self.op("Flatten", self.op("GlobalAveragePool", x))
        bias = self.constant(np.zeros(classes, np.float32))
        weights = self.rng.standard_normal((classes, channels)) * (2 / channels) ** 0.5
        last = self.constant((weights - weights.mean(axis=0)).astype(np.float32))
        return self.op("Gemm", flat, last, bias, transB=1)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The model; outputs get the types that shape inference finds."""
        graph = helper.make_graph(
            self.nodes,
            "net",
            self.inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.initializers,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )
        inferred = onnx.shape_inference.infer_shapes(model)
        model.graph.ClearField("output")
        model.graph.output.extend(inferred.graph.output)
        onnx.checker.check_model(model)
        return model


def residual_net(width: int = 8, blocks: int = 2, seed: int = 0) -> onnx.ModelProto:
    """A small residual classifier of pictures float[N,3,12,12]."""
    net = Net("N", 3, 12, 12, seed=seed)
    x = net.relu(net.conv("x", 3, width))
    for _ in range(blocks):
        x = net.block(x, width)
    return net.model(net.classifier(x, width, 5))


def reading_of(model: onnx.ModelProto, **shapes: tuple[int, ...]) -> Reading:
    """The model read with static input shapes."""
    return read(from_model(model), model_file.tensor_shapes(model, shapes))


def pictures(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    """Smooth random pictures, float32."""
    values = np.random.default_rng(seed).standard_normal(shape)
    values += np.roll(values, 1, axis=-1) + np.roll(values, 1, axis=-2)
    return np.asarray(values.astype(np.float32))


def run(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray[Any, Any]]
) -> list[np.ndarray[Any, Any]]:
    """The outputs as the graph is written: ONNX Runtime's own optimizations are off."""
    from autogo_onnx import runtime

    return runtime.run(runtime.open_session(model, optimize=False), None, feeds)
