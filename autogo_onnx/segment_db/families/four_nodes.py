"""Cells of four nodes with an operation on every edge: NAS-Bench-201's, TransNAS-Bench-101's.

Node 0 is the input and node 3 the output; every other node, too, is the sum of what its edges give.
Edges without a result, nodes that nothing reaches and operators whose result reaches no output are
left out. The terms of a sum are added in the order of their own structure, so that isomorphic cells
give the same graph whichever way they are encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autogo_onnx.segment_db.families.builder import Builder

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_INPUT, _OUTPUT = 0, 3

Edge = tuple[int, str]


@dataclass(frozen=True)
class Cell:
    """Operations of the six edges.

    Attributes:
        operations: in the order of `EDGES`.
        zero: the operation without a result.
        identity: the operation that gives back what it reads.
        reduces: whether the identity of the input is an operator, because the shape changes there.
    """

    operations: tuple[str, ...]
    zero: str
    identity: str
    reduces: bool = False

    def into(self, node: int) -> tuple[Edge, ...]:
        """The edges that end in a node: (node they come from, operation)."""
        return tuple(
            (begin, operation)
            for (begin, end), operation in zip(EDGES, self.operations, strict=True)
            if end == node
        )

    def structure(self, node: int = _OUTPUT) -> str:
        """What a node computes, with the terms of sums sorted; "" when nothing reaches it."""
        if node == _INPUT:
            return "x"
        terms = []
        for begin, operation in self.terms(node):
            is_plain = operation == self.identity and (begin != _INPUT or not self.reduces)
            inner = self.structure(begin)
            terms.append(inner if is_plain else f"{operation}({inner})")
        total = "+".join(sorted(terms))
        return f"({total})" if len(terms) > 1 else total

    def terms(self, node: int) -> tuple[Edge, ...]:
        """The edges into a node that give something, in the order in which they are added."""
        found = [
            (f"{operation}({structure})", begin, operation)
            for begin, operation in self.into(node)
            if operation != self.zero and (structure := self.structure(begin))
        ]
        return tuple((begin, operation) for _, begin, operation in sorted(found))


def append(net: Builder, x: int, cell: Cell, apply: Callable[[int, Edge], int]) -> int:
    """Append a cell that reaches its output; only what that needs, deepest nodes first.

    Args:
        net: the network so far.
        x: the cell's input.
        cell: its edges.
        apply: appends the operation of an edge to the tensor of the node where it begins.
    """
    made = {_INPUT: x}

    def node(index: int) -> int:
        if index not in made:
            terms = cell.terms(index)
            made[index] = net.add(*(apply(node(edge[0]), edge) for edge in terms))
        return made[index]

    return node(_OUTPUT)
