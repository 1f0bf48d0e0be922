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
from autogo_onnx.model import tensor_shapes
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.report import Size
from autogo_onnx.segments import CONVOLUTIONS, Reading, read

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
        macs = op_macs(read_model(model, input_shapes).opgraph)
    except InputError:
        macs = ()
    constants = [a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute]
    params = sum(
        prod(tensor.dims)
        for tensor in (*model.graph.initializer, *constants)
        if tensor.data_type in _FLOATS
    )
    return Size(sum(m or 0 for m in macs), params, len(model.graph.node))


def digest(model: onnx.ModelProto) -> str:
    """20 hexadecimal digits that tell models apart."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()[:20]


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


def _macs_alone(graph: OpGraph, index: int) -> int | None:
    op, shape = graph.ops[index], graph.op_shapes[index]
    operands = tuple(graph.shape(t) for t in op.inputs)
    if op.kind not in _COUNTED:
        return 0
    if not shape or not all(operands):
        return None
    alone = replace(op, inputs=tuple(range(len(operands))))
    return cost.macs(OpGraph(operands, (alone,), (shape,), (len(operands),)))
