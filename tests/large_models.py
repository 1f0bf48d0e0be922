"""Models too large for one file, written tensor by tensor, so that making them takes no memory."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from onnx import helper

PIECE_BYTES = 2**22


class Weights:
    """A data file that is being written, and the initializers that lie in it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.rng = np.random.default_rng(0)
        self.tensors: list[onnx.TensorProto] = []

    def normal(self, name: str, *shape: int, scale: float, mean: float = 0.0) -> str:
        """Random float32 values."""
        start, left = self.file.tell(), int(np.prod(shape))
        tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", Path(self.file.name).name), ("offset", str(start))):
            tensor.external_data.add(key=key, value=value)
        self.tensors.append(tensor)
        while left:
            count = min(left, PIECE_BYTES // 4)
            values = self.rng.standard_normal(count, np.float32)
            self.file.write((values * np.float32(scale) + np.float32(mean)).tobytes())
            left -= count
        return name


def write_net(path: Path, *, convs: int, channels: int, layers: int, width: int) -> int:
    """Write Conv + BatchNormalization blocks and MatMul + Add + Mul layers; bytes of the weights.

    Lengths are left out of the references, as they may be.
    """
    nodes: list[onnx.NodeProto] = []
    with path.with_name(path.name + ".data").open("xb") as file:
        weights = Weights(file)

        def add(op: str, *inputs: str, **attributes: Any) -> str:
            nodes.append(helper.make_node(op, inputs, [f"{op}_{len(nodes)}"], **attributes))
            return str(nodes[-1].output[0])

        x = "x"
        for i in range(convs):
            scale = (9 * channels) ** -0.5
            kernel = weights.normal(f"k{i}", channels, channels, 3, 3, scale=scale)
            x = add("Conv", x, kernel, pads=[1, 1, 1, 1])
            norm = [
                weights.normal(f"{part}{i}", channels, scale=0.05, mean=mean)
                for part, mean in (("scale", 1.0), ("shift", 0.0), ("mean", 0.0), ("variance", 1.0))
            ]
            x = add("Relu", add("BatchNormalization", x, *norm))
        x = add("Reshape", add("Identity", x), "flat")
        weights.tensors.append(onnx.numpy_helper.from_array(np.array([0, -1]), "flat"))
        ends = [channels * 4, *[width] * layers]
        for i, (rows, columns) in enumerate(pairwise(ends)):
            matrix = weights.normal(f"w{i}", rows, columns, scale=rows**-0.5)
            x = add("MatMul", x, matrix)
            x = add("Add", x, weights.normal(f"b{i}", columns, scale=0.1))
            x = add("Relu", add("Mul", x, weights.normal(f"m{i}", columns, scale=0.1, mean=1.0)))
        nodes.append(helper.make_node("Identity", [x], ["y"]))
        size = file.tell()
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "large",
        [value("x", onnx.TensorProto.FLOAT, ["N", channels, 2, 2])],
        [value("y", onnx.TensorProto.FLOAT, ["N", width])],
        weights.tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return size
