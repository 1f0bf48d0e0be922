"""Are two segments the same but for numbering and shapes? networkx is the arbiter."""

from __future__ import annotations

from autogo_onnx.operator_labels import COMMUTATIVE, structure_label
from autogo_onnx.opgraph import OpGraph


def are_isomorphic(one: OpGraph, other: OpGraph) -> bool:
    """Do both have the same operators, edges and outputs?

    Operands of commuting operators may stand in any order, boundary tensors too.
    """
    if _structure(one) == _structure(other):
        return True
    import networkx

    matcher = networkx.isomorphism.MultiDiGraphMatcher(
        _view(one),
        _view(other),
        node_match=networkx.isomorphism.categorical_node_match("label", None),
        edge_match=networkx.isomorphism.categorical_multiedge_match("place", None),
    )
    return bool(matcher.is_isomorphic())


def _structure(graph: OpGraph) -> tuple[object, ...]:
    """Everything but shapes; equal structures need no search."""
    labels = tuple(structure_label(graph, index) for index in range(len(graph.ops)))
    return graph.n_inputs, labels, tuple(op.inputs for op in graph.ops), graph.outputs


def _view(graph: OpGraph):  # type: ignore[no-untyped-def]  # networkx ships no types
    """Tensors as nodes, an edge from every operand with its place where the order counts."""
    import networkx

    view = networkx.MultiDiGraph()
    leaving = set(graph.outputs)
    for tensor in range(graph.n_inputs):
        view.add_node(tensor, label=("Input", tensor in leaving))
    for index, op in enumerate(graph.ops):
        result = graph.n_inputs + index
        view.add_node(result, label=(structure_label(graph, index), result in leaving))
        for place, operand in enumerate(op.inputs):
            view.add_edge(operand, result, place=-1 if op.kind in COMMUTATIVE else place)
    return view
