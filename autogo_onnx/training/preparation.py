"""What is done to a model before it is trained: normalizations added, weights drawn anew."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from torch import Tensor

from autogo_onnx.errors import InputError
from autogo_onnx.messages import opset_of
from autogo_onnx.model import tensor_shapes
from autogo_onnx.torch_graph import TorchGraph
from autogo_onnx.torch_graph.node import Node

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_LINEAR = frozenset({*_CONVOLUTIONS, "Gemm", "MatMul"})
_SUFFIX = ".normalized"
OLDEST_OPSET = 9
_EPSILON = 1e-5


def with_normalization(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with a BatchNormalization behind every convolution that has none.

    Networks whose normalizations were folded away do not train from scratch without. The last
    layers, behind which no other layer comes, are left alone. The tensor behind keeps its name.

    Raises:
        InputError: the model's opset has another BatchNormalization.
    """
    if opset_of(model) < OLDEST_OPSET:
        raise InputError(
            f"normalizations are inserted from opset {OLDEST_OPSET} on, the model has "
            f"{opset_of(model)}: leave --normalization out"
        )
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    shapes = tensor_shapes(model)
    readers = {n: node for node in model.graph.node for n in node.input}
    inner, nodes = _followed(model.graph), list(prepared.graph.node)
    del prepared.graph.node[:]
    for node in nodes:
        prepared.graph.node.append(node)
        name = node.output[0] if node.output else ""
        is_conv = node.op_type in _CONVOLUTIONS and name in inner
        weight = shapes.get(node.input[1]) if is_conv else None
        if weight is None or _is_normalized(readers.get(name)):
            continue
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        width = weight[0] if node.op_type == "Conv" else weight[1] * groups
        prepared.graph.node[-1].output[0] = name + _SUFFIX
        prepared.graph.node.append(_normalization(prepared.graph, name, width))
    return prepared


def settle(graph: TorchGraph, batches: Iterable[Mapping[str, Tensor]]) -> None:
    """Give the inserted normalizations the statistics of samples, and take them back behind.

    Scale and shift undo what mean and variance do, so that the network computes what it did; in
    training it starts from there, and not from activations of another size.

    Args:
        graph: of a model `with_normalization`.
        batches: some feeds; a few hundred samples are enough.
    """
    inserted = [node for node in graph.nodes if _is_inserted(node)]
    names = [node.inputs[0] for node in inserted]
    sums: dict[str, tuple[Tensor, Tensor, int]] = {}
    graph.eval()
    with torch.no_grad():
        for feeds in batches:
            for name, values in graph(feeds, names).items():
                rows = values.transpose(0, 1).flatten(1).double()
                first, second, count = sums.get(name, (0.0, 0.0, 0))
                sums[name] = (
                    first + rows.sum(1),
                    second + rows.square().sum(1),
                    count + rows.shape[1],
                )
        for node in inserted:
            first, second, count = sums[node.inputs[0]]
            mean = first / count
            variance = (second / count - mean.square()).clamp_min(0.0)
            scale = (variance + float(node.get("epsilon"))).sqrt()
            for name, value in zip(node.inputs[1:], (scale, mean, mean, variance), strict=True):
                graph.value(name).copy_(value)


def draw(graph: TorchGraph, seed: int) -> None:
    """New weights: kernels and matrices normal with the variance that keeps activations alive.

    (He et al., 2015, for layers before an activation; biases 0, scales 1.) Values of one tensor
    depend on the seed and its name's place alone.
    """
    with torch.no_grad():
        for number, name in enumerate(graph.learnt.weights):
            tensor = graph.value(name)
            node, position = graph.learnt.uses[name]
            rng = np.random.default_rng([seed, number])
            tensor.copy_(torch.from_numpy(_fresh(node, position, tuple(tensor.shape), rng)))
        for name in graph.learnt.statistics:
            is_mean = graph.learnt.uses[name][1] == 3
            graph.value(name).fill_(0.0 if is_mean else 1.0)


def _followed(graph: onnx.GraphProto) -> set[str]:
    """Tensors that some layer with weights depends on."""
    followed: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in _LINEAR or followed.intersection(node.output):
            followed.update(node.input)
    return followed


def _is_inserted(node: Node) -> bool:
    return node.kind == "BatchNormalization" and node.inputs[0] == node.outputs[0] + _SUFFIX


def _is_normalized(reader: onnx.NodeProto | None) -> bool:
    return reader is not None and reader.op_type == "BatchNormalization"


def _normalization(graph: onnx.GraphProto, name: str, width: int) -> onnx.NodeProto:
    parameters = {"scale": 1.0, "shift": 0.0, "mean": 0.0, "variance": 1.0}
    names = [f"{name}{_SUFFIX}.{part}" for part in parameters]
    for part, value in zip(names, parameters.values(), strict=True):
        array = np.full(width, value, np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(array, part))
    inputs = [name + _SUFFIX, *names]
    return onnx.helper.make_node(
        "BatchNormalization", inputs, [name], name + _SUFFIX, epsilon=_EPSILON
    )


def _fresh(
    node: Node, position: int, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    kind = node.kind
    if kind in _LINEAR and not (position == 2 and kind != "MatMul") and len(shape) > 1:
        gain = 2.0 if kind in _CONVOLUTIONS else 1.0
        spread = math.sqrt(gain / max(1, _fan_in(node, shape)))
        return (rng.standard_normal(shape) * spread).astype(np.float32)
    if kind == "PRelu":
        return np.full(shape, 0.25, np.float32)
    is_scale = kind == "Mul" or (kind.endswith("Normalization") and position == 1)
    if kind == "Add" and Counter(size > 1 for size in shape)[True] > 1:
        return (rng.standard_normal(shape) * 0.02).astype(np.float32)  # an embedding of places
    return np.full(shape, float(is_scale), np.float32)


def _fan_in(node: Node, shape: tuple[int, ...]) -> int:
    """Products summed into one output value."""
    if node.kind == "Conv":
        return math.prod(shape[1:])
    if node.kind == "ConvTranspose":
        steps = int(math.prod(node.get("strides", (1,)))) * int(node.get("group", 1))
        return max(1, shape[0] * math.prod(shape[2:]) // steps)
    is_transposed = bool(node.get("transB", 0))
    return shape[-1] if is_transposed else shape[-2]
