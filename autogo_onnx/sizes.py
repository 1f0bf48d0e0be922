"""What a whole model costs by counting, also where some of its shapes are unknown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from math import prod

import onnx

from autogo_onnx import cost, signature
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_model
from autogo_onnx.messages import is_large, lightened
from autogo_onnx.model import tensor_shapes
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.report import Size
from autogo_onnx.segments import CONVOLUTIONS, Reading, read
from autogo_onnx.tensor_data import chunks, header

_COUNTED = CONVOLUTIONS | {"Gemm", "MatMul"}
_FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
)


def size(model: onnx.ModelProto, input_shapes: Mapping[str, Shape] | None = None) -> Size:
    """MACs of one run, floating-point parameters, nodes of the main graph.

    MACs that are not known count as 0, so a model that cannot be read has none.

    Args:
        model: any model.
        input_shapes: full shapes by input name; by default a batch of one.
    """
    try:
        known = batch_of_one(model) if input_shapes is None else input_shapes
        shapes = tensor_shapes(model, known)
    except InputError:
        shapes = {}
    constants = [a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute]
    params = sum(
        prod(tensor.dims)
        for tensor in (*model.graph.initializer, *constants)
        if tensor.data_type in _FLOATS
    )
    macs = sum(_node_macs(node, shapes) for node in model.graph.node)
    return Size(macs, params, len(model.graph.node))


def digest(model: onnx.ModelProto) -> str:
    """20 hexadecimal digits that tell models apart."""
    whole = hashlib.sha256()
    light = lightened(model, header)
    whole.update(light.SerializeToString(deterministic=True))
    if light is not model:
        for tensor in filter(is_large, model.graph.initializer):
            for chunk in chunks(tensor):
                whole.update(chunk)
    return whole.hexdigest()[:20]


def read_model(model: onnx.ModelProto, input_shapes: Mapping[str, Shape] | None = None) -> Reading:
    """The compute nodes of a model, with the shapes that these inputs give, or a batch of one."""
    shapes = batch_of_one(model) if input_shapes is None else input_shapes
    return read(from_model(model), tensor_shapes(model, shapes))


def batch_of_one(model: onnx.ModelProto) -> dict[str, Shape]:
    """Full shapes of the inputs in which only the leading axis is free, with 1 in its place."""
    shapes = {}
    for spec in signature.inputs(model):
        dims = spec.dims or ()
        shape = tuple(d if isinstance(d, int) else 1 for d in dims)
        if dims and all(isinstance(d, int) for d in dims[1:]):
            shapes[spec.name] = shape
    return shapes


def op_macs(graph: OpGraph) -> tuple[int | None, ...]:
    """Multiply-accumulates of every operator; None where a shape it needs is unknown."""
    return tuple(_macs_alone(graph, index) for index in range(len(graph.ops)))


def _node_macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Multiply-accumulates of a node; 0 where they are not known."""
    if node.op_type not in _COUNTED or node.domain not in ("", "ai.onnx"):
        return 0
    left, right, out = (shapes.get(name) for name in (*node.input[:2], node.output[0]))
    if left is None or right is None or out is None:
        return 0
    if node.op_type == "Conv":
        return prod(out) * prod(right[1:])
    if node.op_type == "ConvTranspose":
        return prod(left) * prod(right[1:])
    is_transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return prod(out) * (left[0] if is_transposed else left[-1])


def _macs_alone(graph: OpGraph, index: int) -> int | None:
    op, shape = graph.ops[index], graph.op_shapes[index]
    operands = tuple(graph.shape(t) for t in op.inputs)
    if op.kind not in _COUNTED:
        return 0
    if not shape or not all(operands):
        return None
    alone = replace(op, inputs=tuple(range(len(operands))))
    return cost.macs(OpGraph(operands, (alone,), (shape,), (len(operands),)))
