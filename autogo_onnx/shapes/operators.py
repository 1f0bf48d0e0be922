"""Reads the structure of a segment: which function describes which kind of operator.

Every operator says three things: which of its tensors share a size, which share a width, and what
relates the others (options of a window, a sum of widths). Operators that are not known here make
the segment infeasible, by name.
"""

from __future__ import annotations

from collections.abc import Callable

from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.shapes import cutting, matrices, moving, reducing, sliding, upsampling
from autogo_onnx.shapes.element_wise import broadcast, element_wise
from autogo_onnx.shapes.layout import channel_axes
from autogo_onnx.shapes.problem import Infeasible
from autogo_onnx.shapes.structure import Freedom, Merged, Structure, Unknown

_Describe = Callable[[Structure, int, Op], None]

_ELEMENT_WISE = (
    "Abs", "BatchNormalization", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "LRN", "LeakyRelu", "Log", "LogSoftmax", "Mish", "Neg", "PRelu",
    "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Softsign", "Sqrt", "Tanh",
    "ThresholdedRelu",
)  # fmt: skip
_BROADCAST = ("Add", "Div", "Max", "Mean", "Min", "Mul", "Sub", "Sum")

_BY_KIND: dict[str, _Describe] = {
    **dict.fromkeys(_ELEMENT_WISE, element_wise),
    **dict.fromkeys(_BROADCAST, broadcast),
    "AveragePool": sliding.pool,
    "Concat": cutting.concat,
    "Conv": sliding.convolution,
    "ConvTranspose": sliding.convolution,
    "DepthToSpace": moving.depth_to_space,
    "Flatten": moving.reshape,
    "Gemm": matrices.gemm,
    "GlobalAveragePool": reducing.global_pool,
    "GlobalMaxPool": reducing.global_pool,
    "MatMul": matrices.product,
    "MaxPool": sliding.pool,
    "Pad": cutting.pad,
    "ReduceMax": reducing.reduce,
    "ReduceMean": reducing.reduce,
    "ReduceSum": reducing.reduce,
    "Reshape": moving.reshape,
    "Resize": upsampling.resize,
    "Slice": cutting.slice_,
    "SpaceToDepth": moving.space_to_depth,
    "Split": cutting.split,
    "Squeeze": moving.transpose,
    "Transpose": moving.transpose,
    "Unsqueeze": moving.transpose,
    "Upsample": upsampling.resize,
}


def read(graph: OpGraph, freedom: Freedom) -> Structure | Infeasible:
    """The structure of a segment, or the operator that is not known."""
    for index, op in enumerate(graph.ops):
        obstacle = _obstacle(graph, index, op)
        if obstacle:
            return Infeasible(f"{op.kind} (operator {index}): {obstacle}")
    try:
        layout = channel_axes(graph)
    except Unknown as unknown:
        return Infeasible(str(unknown))
    count = graph.n_tensors
    found = Structure(graph, freedom, layout, Merged(count), Merged(count))
    found.one_channel += [tensor for tensor, axis in enumerate(layout) if axis is None]
    for index, op in enumerate(graph.ops):
        try:
            _BY_KIND[op.kind](found, index, op)
        except Unknown as unknown:
            return Infeasible(f"{found.describe(index)}: {unknown}")
    return found


def _obstacle(graph: OpGraph, index: int, op: Op) -> str:
    """Why an operator cannot be described at all; empty when it can."""
    if op.kind not in _BY_KIND or not op.inputs:
        return "not an operator whose shapes can be changed"
    if op.get("output") and op.kind != "Split":
        return "the second output of a node"
    if len(op.inputs) > 1 and _BY_KIND[op.kind] is element_wise:
        return "computed parameters"
    if any(len(graph.shape(t)) < 2 for t in (*op.inputs, graph.n_inputs + index)):
        return "a tensor without batch and channel axes"
    return ""
