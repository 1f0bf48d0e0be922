"""What no rule understands, by name: it is carried through untouched."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.rule import Skip

_QUANTIZED = (
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
)


def left_alone(graph: gs.Graph) -> Iterator[Skip]:
    """One skip per reason, with all the nodes that it holds for."""
    nodes: dict[str, list[gs.Node]] = {}
    for node in graph.nodes:
        reason = _reason(node)
        if reason is not None:
            nodes.setdefault(reason, []).append(node)
    for reason, concerned in nodes.items():
        yield Skip(tuple(concerned), reason)


def _reason(node: gs.Node) -> str | None:
    if any(True for _ in node.subgraphs()):
        return "control flow: subgraphs are not edited"
    if not is_op(node, node.op):
        return f"operator of domain {node.domain!r}"
    if is_op(node, *_QUANTIZED):
        return "quantized operator"
    if node.op.startswith(("Sequence", "Optional", "SplitToSequence", "ConcatFromSequence")):
        return "sequence or optional value"
    return None
