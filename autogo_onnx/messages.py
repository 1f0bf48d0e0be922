"""Models as protobuf messages: all their tensors, and copies without the heavy ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Any

import onnx

from autogo_onnx.tensor_data import LARGE_BYTES, byte_size, place

_LARGEST_ITEM_BYTES = 16


def copy_fields(source: Any, target: Any, *, without: Collection[str]) -> None:
    """Copy the fields of one protobuf message to an empty one, but for some."""
    for descriptor, value in source.ListFields():
        if descriptor.name in without:
            continue
        if descriptor.is_repeated:
            getattr(target, descriptor.name).extend(value)
        elif descriptor.message_type is not None:
            getattr(target, descriptor.name).CopyFrom(value)
        else:
            setattr(target, descriptor.name, value)


def is_large(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is better not copied without need."""
    if math.prod(tensor.dims) * _LARGEST_ITEM_BYTES < LARGE_BYTES:
        return False  # which is quickly seen of nearly all
    return tensor.data_type != onnx.TensorProto.STRING and byte_size(tensor) >= LARGE_BYTES


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the ONNX operators in a model; 0 where it imports none.

    >>> opset_of(onnx.parser.parse_model('<opset_import: ["" : 11]> g () => () {}'))
    11
    """
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def refers_to_files(model: onnx.ModelProto) -> bool:
    """Whether weights of a model in memory stay in their files."""
    return any(place(tensor) for tensor in model.graph.initializer)


def lightened(
    model: onnx.ModelProto, stand_in: Callable[[onnx.TensorProto], onnx.TensorProto]
) -> onnx.ModelProto:
    """A copy of the model in which every large initializer is exchanged; or the model itself.

    Args:
        model: it is not changed, and returned where no initializer is large.
        stand_in: what to put in the place of a large one.
    """
    if not any(is_large(tensor) for tensor in model.graph.initializer):
        return model
    light = onnx.ModelProto()
    copy_fields(model, light, without=("graph",))
    copy_fields(model.graph, light.graph, without=("initializer",))
    light.graph.initializer.extend(
        stand_in(tensor) if is_large(tensor) else tensor for tensor in model.graph.initializer
    )
    return light


def stored_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all initializers and constants, wherever they lie."""
    constants = (a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute)
    return sum(map(byte_size, chain(model.graph.initializer, constants)))


def names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of the tensors that nodes read or that leave the graph, those of subgraphs included."""
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from node.input
        for inner in _subgraphs(node):
            yield from names_read(inner)


def external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The tensors whose values lie in other files, wherever in the model they are."""
    return (t for t in _tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors stored in the model: initializers and attributes, subgraphs included."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
    for graph in _subgraphs(node):
        yield from _graph_tensors(graph)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
