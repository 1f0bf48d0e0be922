"""Are two segments the same but for numbering and shapes? networkx is the arbiter.

Canonical hashes say the same; that two graphs agree in one is decided here, by other means.
"""

from __future__ import annotations

from collections import Counter

from autogo_onnx.operator_labels import COMMUTATIVE, structure_label
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.serialize import structure


def are_isomorphic(one: OpGraph, other: OpGraph) -> bool:
    """Do both have the same operators, edges and outputs?

    Operands of commuting operators may stand in any order, boundary tensors too. Graphs in
    canonical form are compared as they stand; others are searched, which is for small ones.

    >>> from autogo_onnx.opgraph import Op
    >>> operands = [((0, 1), (2,)), ((1, 0), (2,)), ((0, 0), (2,))]
    >>> graphs = [
    ...     OpGraph(((1, 4),) * 2, (Op("Add", a), Op("Relu", b)), ((1, 4),) * 2, (3,))
    ...     for a, b in operands
    ... ]
    >>> [are_isomorphic(graphs[0], graph) for graph in graphs]
    [True, True, False]
    """
    if structure(one) == structure(other):
        return True
    import networkx

    matcher = networkx.isomorphism.MultiDiGraphMatcher(
        _view(one),
        _view(other),
        node_match=networkx.isomorphism.categorical_node_match("label", None),
        edge_match=networkx.isomorphism.categorical_multiedge_match("place", None),
    )
    return bool(matcher.is_isomorphic())


def _view(graph: OpGraph):  # type: ignore[no-untyped-def]  # networkx ships no types
    """Tensors as nodes, an edge from every operand with its place where the order counts."""
    import networkx

    view = networkx.MultiDiGraph()
    leaving = Counter(graph.outputs)
    for tensor in range(graph.n_inputs):
        view.add_node(tensor, label=("Input", leaving[tensor]))
    for index, op in enumerate(graph.ops):
        result = graph.n_inputs + index
        view.add_node(result, label=(structure_label(graph, index), leaving[result]))
        for place, operand in enumerate(op.inputs):
            view.add_edge(operand, result, place=-1 if op.kind in COMMUTATIVE else place)
    return view
