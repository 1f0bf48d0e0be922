"""Operators of a trained file of which a weight-free graph does not tell everything.

They stay what and where they are: what takes their place would be another type of tensor, lack an
output, or pad otherwise on pictures of another size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
import onnx_graphsurgeon as gs

from autogo_onnx import signature
from autogo_onnx.facts import prove
from autogo_onnx.liveness import captured, is_op
from autogo_onnx.opgraph import Shape
from autogo_onnx.segments import CONVOLUTIONS, Reading, op_weights

_PLAIN_DTYPES = frozenset({"float32", "int64"})
_FLOAT = int(onnx.TensorProto.FLOAT)


def untouchable(
    model: onnx.ModelProto, reading: Reading, shapes: Mapping[str, Shape]
) -> frozenset[int]:
    """Numbers of the operators that no change may touch.

    Args:
        model: as it was read.
        reading: of the model with these shapes.
        shapes: full shapes of the inputs; those that the model leaves open are only nominal.
    """
    declared = {spec.name: (spec.dims or ())[1:] for spec in signature.inputs(model)}
    is_nominal = any(declared.get(name) != shape[1:] for name, shape in shapes.items())
    facts = prove(model)
    other_types = {
        tensor
        for tensor, name in enumerate(reading.tensors)
        if facts.element_type(name) not in (0, _FLOAT)
    }
    return frozenset((
        *(i for i in _by_node(reading, is_nominal)),
        *(i for i in _by_tensors(reading, other_types)),
    ))  # fmt: skip


def _by_node(reading: Reading, is_nominal: bool) -> Iterator[int]:
    """Operators that are more than their kind and attributes say."""
    for index, node in enumerate(reading.nodes):
        computes_weights = (
            is_op(node, *CONVOLUTIONS, "Gemm") and len(reading.opgraph.ops[index].inputs) > 1
        )
        if (
            not is_op(node, node.op)
            or any(True for _ in node.subgraphs())
            or sum(not tensor.is_empty() for tensor in node.outputs) > 1
            or any(str(w.dtype) not in _PLAIN_DTYPES for w in op_weights(node))
            or computes_weights
            or (is_nominal and _pads_by_size(node))
        ):
            yield index


def _by_tensors(reading: Reading, other_types: set[int]) -> Iterator[int]:
    """Operators on tensors that are no float32 maps of known shape, or that subgraphs read."""
    graph = reading.opgraph
    hidden = captured_names(reading)
    batch = {shape[0] for shape in graph.input_shapes if shape}
    for index, op in enumerate(graph.ops):
        tensors = (*op.inputs, graph.n_inputs + index)
        if any(
            t in other_types
            or not graph.shape(t)
            or {graph.shape(t)[0]} != batch
            or reading.tensors[t] in hidden
            for t in tensors
        ):
            yield index


def captured_names(reading: Reading) -> frozenset[str]:
    """Names that subgraphs of the nodes read."""
    return captured(gs.Graph(nodes=list(reading.nodes)))


def _pads_by_size(node: gs.Node) -> bool:
    return str(node.attrs.get("auto_pad", "")).startswith("SAME") and any(
        stride > 1 for stride in node.attrs.get("strides", ())
    )
