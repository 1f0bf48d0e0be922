"""Small trained-looking networks for tests of the whole way."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def classifier(seed: int = 0, *, width: int = 16, size: int = 10) -> onnx.ModelProto:
    """Three convolutions, one residual addition, a linear classifier of 5 classes.

    The convolutions' weights are smooth (nearly separable), as trained ones are, so that
    replacements exist that lose next to nothing.
    """
    rng = np.random.default_rng(seed)
    weights: list[onnx.TensorProto] = []

    def weight(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def conv(name: str, channels: int, source: str) -> onnx.NodeProto:
        line = np.array([0.5, 1.0, 0.5])
        mix = rng.standard_normal((width, channels)) / channels**0.5
        kernel = mix[:, :, None, None] * np.outer(line, line) / 3
        kernel = kernel + 0.01 * rng.standard_normal(kernel.shape)
        names = [weight(f"{name}.w", kernel), weight(f"{name}.b", 0.1 * rng.standard_normal(width))]
        return helper.make_node(
            "Conv", [source, *names], [name], name=name, kernel_shape=[3, 3], pads=[1, 1, 1, 1]
        )

    nodes = [
        conv("first", 3, "x"),
        helper.make_node("Relu", ["first"], ["a"], name="relu1"),
        conv("second", width, "a"),
        helper.make_node("Relu", ["second"], ["b"], name="relu2"),
        conv("third", width, "b"),
        helper.make_node("Add", ["a", "third"], ["c"], name="add"),
        helper.make_node("Relu", ["c"], ["d"], name="relu3"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], name="pool"),
        helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
        helper.make_node(
            "Gemm",
            ["f", weight("g.w", last_layer(rng, width)), weight("g.b", np.zeros(5))],
            ["scores"],
            name="classifier",
            transB=1,
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 5])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="origin", value="test")
    return model


def last_layer(rng: np.random.Generator, width: int) -> np.ndarray:
    """Weights of a classifier of 5 classes: cross-entropy leaves the mean over them where it is."""
    weights = 3 * rng.standard_normal((5, width))
    return np.asarray(weights - weights.mean(axis=0))


def samples(count: int = 96, *, size: int = 10, seed: int = 1) -> np.ndarray:
    """Smooth random pictures: float32[count,3,size,size]."""
    rng = np.random.default_rng(seed)
    rough = rng.standard_normal((count, 3, size + 2, size + 2))
    smooth = sum(rough[:, :, y : y + size, x : x + size] for y in range(3) for x in range(3)) / 3
    return np.asarray(smooth, dtype=np.float32)
