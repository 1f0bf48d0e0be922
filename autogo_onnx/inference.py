"""ONNX's own shape inference, made to trust nothing that is merely declared."""

from __future__ import annotations

import math

import onnx
import onnx.checker
import onnx.shape_inference

from autogo_onnx.messages import copy_fields
from autogo_onnx.tensor_data import PLAIN_TYPES

IR_WITH_DEFAULTED_INPUTS = 4
"""Before, every initializer had to be listed as an input, and could not be overridden."""

# Larger tensors are weights; shape inference never reads their values.
SHAPE_LIKE_BYTES = 8192

# Operators through which ONNX follows values, element by element. Concat adds them up: a chain of
# forty doubles eight to terabytes.
_FOLLOWED = frozenset(
    {"Add", "Cast", "Concat", "Gather", "Identity", "Mul", "Reshape", "Slice", "Squeeze", "Sub"}
    | {"Unsqueeze"}
)
_MOST_FOLLOWED = 2**16
_USUAL_RANK = 8


def infer(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Types of inputs, inner tensors and outputs by ONNX's shape inference, whatever is declared.

    Where inference fails altogether only the inputs are returned.
    """
    skeleton = _skeleton(model)
    inputs = list(skeleton.graph.input)
    try:
        follow = _values_stay_few(skeleton.graph)
        result = onnx.shape_inference.infer_shapes(skeleton, data_prop=follow)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError):
        return inputs
    return [*inputs, *result.graph.value_info, *result.graph.output]


def forget_shapes(graph: onnx.GraphProto) -> None:
    """Remove declared shapes that nothing enforces; element types stay."""
    del graph.value_info[:]
    for output in graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")


def _values_stay_few(graph: onnx.GraphProto) -> bool:
    """Whether ONNX can follow the values of shape computations without filling the memory."""
    lengths = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in _FOLLOWED:
            continue
        known = [lengths.get(name, _USUAL_RANK) for name in node.input]
        length = sum(known) if node.op_type == "Concat" else max(known, default=0)
        if length > _MOST_FOLLOWED:
            return False
        lengths.update(dict.fromkeys(node.output, length))
    return True


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its declared shapes and without the values of its large weights."""
    small = onnx.ModelProto()
    copy_fields(model, small, without=("graph",))
    copy_fields(model.graph, small.graph, without=("initializer",))
    forget_shapes(small.graph)
    for info in small.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value < 0:
                dim.ClearField("dim_value")  # some exporters write -1 for "any"
    listed = {info.name for info in small.graph.input}
    for tensor in model.graph.initializer:
        overridable = tensor.name in listed and model.ir_version >= IR_WITH_DEFAULTED_INPUTS
        small_enough = math.prod(tensor.dims) * 8 <= SHAPE_LIKE_BYTES
        if tensor.data_type in PLAIN_TYPES and small_enough and not overridable:
            small.graph.initializer.append(tensor)
        elif tensor.name not in listed:  # a listed one may be overridden: its value proves nothing
            small.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return small
