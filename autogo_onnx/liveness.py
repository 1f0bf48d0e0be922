"""Which nodes of a graph-surgeon graph are needed, by whom, and in which order.

graph-surgeon's own sort recurses without end on functions with subgraphs, and reorders what is
sorted already; its clean-up knows nothing of operators with effects.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import onnx_graphsurgeon as gs


def cleanup(graph: gs.Graph) -> None:
    """Drop nodes that no output needs; sort the rest topologically, else in their old order.

    Nodes of unknown domains stay, since they may have effects. Names never change.
    """
    dead = dead_nodes(graph)
    for node in dead:
        disconnect(node)
    gone = {id(node) for node in dead}
    graph.nodes = _sorted([node for node in graph.nodes if id(node) not in gone])


def dead_nodes(graph: gs.Graph) -> list[gs.Node]:
    """Nodes that no output, no subgraph and no operator of an unknown domain depends on."""
    wanted = fixed_names(graph)
    waiting = [
        node
        for node in graph.nodes
        if not is_op(node, node.op) or any(t.name in wanted for t in node.outputs)
    ]
    seen = {id(node) for node in waiting}
    for node in waiting:
        for producer in (p for t in node.inputs for p in t.inputs):
            if id(producer) not in seen:
                seen.add(id(producer))
                waiting.append(producer)
    return [node for node in graph.nodes if id(node) not in seen]


def fixed_names(graph: gs.Graph) -> frozenset[str]:
    """Names of tensors that are visible outside the main graph: its outputs and captured ones."""
    return captured(graph) | {t.name for t in graph.outputs}


def captured(graph: gs.Graph) -> frozenset[str]:
    """Names that subgraphs (of If, Loop, Scan) read; tensors so named must keep their names."""
    names: set[str] = set()
    for node in graph.nodes:
        for subgraph in node.subgraphs(recursive=True):
            names.update(t.name for t in subgraph.outputs)
            names.update(t.name for inner in subgraph.nodes for t in inner.inputs)
    return frozenset(names - {""})


def all_names(graph: gs.Graph) -> Iterator[str]:
    """Names of all tensors and nodes, those of subgraphs included."""
    yield from graph.tensors()
    yield from (tensor.name for tensor in (*graph.inputs, *graph.outputs))
    for node in graph.nodes:
        yield node.name
        for inner in node.subgraphs(recursive=True):
            yield from (tensor.name for tensor in (*inner.inputs, *inner.outputs))
            for part in inner.nodes:
                yield part.name
                yield from (tensor.name for tensor in (*part.inputs, *part.outputs))


def disconnect(node: gs.Node) -> None:
    """Cut a node off from its tensors, so that nobody counts it as a reader any more."""
    node.inputs.clear()
    node.outputs.clear()


def is_op(node: gs.Node, *kinds: str) -> bool:
    """Whether the node is one of these operators of the ONNX domain (not of a custom one)."""
    return node.op in kinds and node.domain in (None, "", "ai.onnx")


def _sorted(nodes: list[gs.Node]) -> list[gs.Node]:
    """Kahn's algorithm, taking the earliest ready node first: a sorted list comes back as it is."""
    index = {id(node): i for i, node in enumerate(nodes)}
    makers = {t.name: i for i, node in enumerate(nodes) for t in node.outputs if t.name}
    readers: list[list[int]] = [[] for _ in nodes]
    missing = [0] * len(nodes)
    for i, node in enumerate(nodes):
        names = {t.name for t in node.inputs}
        for subgraph in node.subgraphs(recursive=True):
            names.update(t.name for inner in subgraph.nodes for t in inner.inputs)
            names.update(t.name for t in subgraph.outputs)
        for maker in sorted({makers[n] for n in names if n in makers and makers[n] != i}):
            readers[maker].append(i)
            missing[i] += 1
    ready = [i for i, count in enumerate(missing) if count == 0]
    heapq.heapify(ready)
    result = []
    while ready:
        i = heapq.heappop(ready)
        result.append(nodes[i])
        for reader in readers[i]:
            missing[reader] -= 1
            if missing[reader] == 0:
                heapq.heappush(ready, reader)
    assert len(result) == len(index), "a rewrite made a cycle"
    return result
