"""Small networks, and data to train them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from autogo_onnx.graph import from_text
from autogo_onnx.training import TrainOptions

CLASSIFIER = """g (float[N,1,8,8] x) => (float[N,3] scores) {
    a = Conv <strides=[2,2], pads=[1,1,1,1]> (x, w1)
    b = BatchNormalization (a, s1, b1, m1, v1)
    c = Relu(b)
    d = Conv (c, w2, b2)
    e = Relu(d)
    f = GlobalAveragePool(e)
    h = Flatten(f)
    scores = Gemm <transB=1> (h, w3, b3)
}"""
ENLARGER = """g (float[N,1,H,W] x) => (float[N,1,H2,W2] y) {
    a = Conv <pads=[2,2,2,2]> (x, w1, b1)
    b = Relu(a)
    c = Conv <pads=[1,1,1,1]> (b, w2, b2)
    y = DepthToSpace <blocksize=2> (c)
}"""
DENOISER = """g (float[N,1,H,W] x) => (float[N,1,H,W] y) {
    a = Conv <pads=[1,1,1,1]> (x, w1, b1)
    b = Relu(a)
    c = Conv <pads=[1,1,1,1]> (b, w2, b2)
    y = Add(x, c)
}"""


def shapes(text: str) -> dict[str, tuple[int, ...]]:
    if text is CLASSIFIER:
        channels: dict[str, tuple[int, ...]] = dict.fromkeys(("s1", "b1", "m1", "v1"), (8,))
        more = {"w2": (12, 8, 2, 2), "b2": (12,), "w3": (3, 12), "b3": (3,)}
        return {"w1": (8, 1, 3, 3), **channels, **more}
    kernel, out = (5, 4) if text is ENLARGER else (3, 1)
    return {"w1": (8, 1, kernel, kernel), "b1": (8,), "w2": (out, 8, 3, 3), "b2": (out,)}


def network(text: str = CLASSIFIER) -> onnx.ModelProto:
    """With small random weights."""
    proto, rng = from_text(text), np.random.default_rng(0)
    for name, shape in shapes(text).items():
        values = rng.standard_normal(shape) * 0.3
        values = np.abs(values) + 0.5 if name in ("s1", "v1") else values
        array = values.astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def stripes(count: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of horizontal, vertical or no stripes in noise, and which."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, count)
    x = rng.standard_normal((count, 1, 8, 8)).astype(np.float32) * 0.3
    x[labels == 0, :, ::2] += 1
    x[labels == 1, :, :, ::2] += 1
    return x, labels


def pictures(count: int = 32, size: int = 16) -> np.ndarray:
    """Smooth pictures with an edge, in 0..1."""
    rng = np.random.default_rng(2)
    rows, columns = np.mgrid[:size, :size] / size
    slopes = rng.uniform(-1, 1, (count, 3, 1, 1))
    waves = slopes[:, 0] * rows + slopes[:, 1] * columns + 0.3 * (rows > slopes[:, 2] ** 2)
    waves -= waves.min((1, 2), keepdims=True)
    return np.asarray(waves / waves.max((1, 2), keepdims=True), np.float32)[:, None]


def quick(data: Path, **given: Any) -> TrainOptions:
    common = {"epochs": 6, "batch": 16, "learning_rate": 0.02, "threads": 1, "device": "cpu"}
    return TrainOptions(data, **{**common, **given})


def weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


def holding_a_batch_of(size: int) -> onnx.ModelProto:
    """The classifier, exported with a batch size that a Reshape spells out."""
    proto = network()
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = size
    flatten = next(n for n in proto.graph.node if n.op_type == "Flatten")
    flatten.op_type = "Reshape"
    flatten.input.append("shape")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([size, 12]), "shape"))
    return proto


def save(path: Path, **arrays: np.ndarray) -> Path:
    stored: dict[str, Any] = dict(arrays)
    np.savez(path / "data.npz", **stored)
    return path / "data.npz"
