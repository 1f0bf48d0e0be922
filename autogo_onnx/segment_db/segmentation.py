"""A network cut into connected pieces of the vocabulary."""

from __future__ import annotations

from collections.abc import Collection

from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segment_db.vocabulary import Vocabulary
from autogo_onnx.serialize import canonical_order, tokens


def pieces(graph: OpGraph, vocabulary: Vocabulary) -> tuple[tuple[int, ...], ...]:
    """Operator indices of every piece, in canonical order; together they are all operators.

    A piece that covers the end of one branch and the beginning of another is split, so that every
    piece is connected. Each is convex: no path leaves it and comes back.
    """
    order = canonical_order(graph)
    result: list[tuple[int, ...]] = []
    start = 0
    for length in vocabulary.segment(tokens(graph, order)):
        result += components(graph, order[start : start + length])
        start += length
    return tuple(result)


def is_connected(graph: OpGraph) -> bool:
    """Do edges between operators connect all of them? Sharing an input is not an edge."""
    return len(components(graph, range(len(graph.ops)))) <= 1


def components(graph: OpGraph, ops: Collection[int]) -> tuple[tuple[int, ...], ...]:
    """The operators in groups that edges connect, in the order given."""
    group = {index: index for index in ops}

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    for index in ops:
        for tensor in graph.ops[index].inputs:
            producer = graph.producer(tensor)
            if producer in group:
                group[root(index)] = root(producer)
    members: dict[int, list[int]] = {}
    for index in ops:
        members.setdefault(root(index), []).append(index)
    return tuple(tuple(member) for member in members.values())
