"""The order in which operators are written: each branch whole before the next one begins.

Operators stand in post-order from the outputs. Of several operands the deepest is written first.
Between operands of equal depth their last few operators decide and only then their colours, so
that the same cell reads the same wherever it stands; then which was written last of what they are
made from, and at the very end the canonical numbering of what is alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from autogo_onnx.operator_labels import COMMUTATIVE
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.ordering.colours import colours, nearby
from autogo_onnx.ordering.numbering import canonical_ranks
from autogo_onnx.ordering.refinement import Edge, TooSymmetric

# Edges upstream of an operand in which tensors written before decide between equals.
_FRONTIER_HOPS = 4


class NotCanonical(UserWarning):
    """The order of a graph may depend on its numbering: it is too symmetric to be sure."""


def post_order(graph: OpGraph) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Operators in canonical order, and boundary inputs in the order of first use, then the rest.

    Takes time in proportion to the graph, but for what `numbering` says, and no recursion.

    Warns:
        NotCanonical: of a graph made to defeat every numbering; see `numbering`.

    >>> from autogo_onnx.opgraph import Op
    >>> ops = (Op("Relu", (1,)), Op("Sub", (2, 0)))
    >>> post_order(OpGraph(((1, 4),) * 2, ops, ((1, 4),) * 2, (3,)))
    ((0, 1), (1, 0))
    """
    walk = _Walk(graph)
    return walk.operators(), walk.inputs()


class _Walk:
    """The walk from the outputs; its state is what has been written so far."""

    def __init__(self, graph: OpGraph) -> None:
        self._graph = graph
        self._first = graph.n_inputs
        self._colours = colours(graph)
        self._ranks = _ranks(graph, self._colours)
        self._depths = _depths(graph)
        self._nearby = nearby(graph)
        self._position: dict[int, int] = {}  # an input's is that of its first reader
        self._order: list[int] = []

    def operators(self) -> tuple[int, ...]:
        """Write all operators: those that outputs need, then dead ones."""
        graph = self._graph
        read = {t for op in graph.ops for t in op.inputs}
        sinks = {t for t in range(self._first, graph.n_tensors) if t not in read}
        outputs = {t for t in graph.outputs if t >= self._first}
        for roots in (outputs, sinks - outputs):
            depths, ranks = self._depths, self._ranks
            for root in sorted(roots, key=lambda t: (depths[t], ranks[t])):
                self._write(root)
        return tuple(self._order)

    def inputs(self) -> tuple[int, ...]:
        """Boundary inputs by first use; those of one operator in its order, if that matters."""
        used: dict[int, None] = {}
        for index in self._order:
            op = self._graph.ops[index]
            commutes = op.kind in COMMUTATIVE
            ordered = sorted(op.inputs, key=self._ranks.__getitem__) if commutes else op.inputs
            used.update(dict.fromkeys(t for t in ordered if t < self._first))
        rest = sorted(set(range(self._first)) - used.keys(), key=self._ranks.__getitem__)
        return (*used, *rest)

    def _write(self, root: int) -> None:
        """Write a tensor after its operands; their order is settled when it is first met."""
        position = self._position
        stack = [] if root in position else [(root, self._operands(root))]
        while stack:
            tensor, waiting = stack[-1]
            while waiting and waiting[-1] in position:
                waiting.pop()
            if waiting:
                stack.append((waiting[-1], self._operands(waiting[-1])))
            else:
                self._append(tensor)
                stack.pop()

    def _append(self, tensor: int) -> None:
        index, position = tensor - self._first, len(self._order)
        self._order.append(index)
        self._position[tensor] = position
        for operand in self._graph.ops[index].inputs:
            self._position.setdefault(operand, position)

    def _operands(self, tensor: int) -> list[int]:
        """Operands that are not written yet, the one to be written first at the end."""
        first, position, depths = self._first, self._position, self._depths
        operands = self._graph.ops[tensor - first].inputs
        waiting = [t for t in operands if t >= first and t not in position]
        if len(waiting) > 1:
            groups: dict[int, list[int]] = {}
            for operand in set(waiting):
                groups.setdefault(depths[operand], []).append(operand)
            waiting = []
            for _, group in sorted(groups.items()):
                if len(group) > 1:
                    group.sort(key=self._preference, reverse=True)
                waiting += group
        return waiting

    def _preference(self, tensor: int) -> tuple[bytes, bytes, list[int], int]:
        """What decides between operands of equal depth; the least is written first."""
        return (
            self._nearby(tensor),
            self._colours[tensor],
            self._frontier(tensor),
            self._ranks[tensor],
        )

    def _frontier(self, tensor: int) -> list[int]:
        """Where the branch starts: positions of the written tensors it reads, latest first.

        Some edges upstream are enough: what is further away is told apart by the ranks.
        """
        found: set[int] = set()
        reached, ops = {tensor}, self._graph.ops
        for _ in range(_FRONTIER_HOPS):
            before, reached = reached, set()
            for index in [t - self._first for t in before if t >= self._first]:
                for operand in ops[index].inputs:
                    if operand in self._position:
                        found.add(-self._position[operand])
                    else:
                        reached.add(operand)
        return sorted(found)


def _depths(graph: OpGraph) -> list[int]:
    """Number of operators on the longest way to every tensor."""
    depths = [0] * graph.n_inputs
    for op in graph.ops:
        depths.append(1 + max([depths[t] for t in op.inputs], default=0))
    return depths


def _ranks(graph: OpGraph, colours: Sequence[bytes]) -> list[int]:
    """A number for every tensor: by colour, and canonical where colours are equal."""
    number = {colour: n for n, colour in enumerate(sorted(set(colours)))}
    numbers = [number[colour] for colour in colours]
    if len(number) == len(colours):
        return numbers
    try:
        return canonical_ranks(numbers, _edges(graph), _details(graph, numbers))
    except TooSymmetric as error:
        text = f"the order of {len(graph.ops)} operators may depend on their numbering: {error}"
        warnings.warn(text, NotCanonical, stacklevel=1)
    places = [0] * len(numbers)
    for place, tensor in enumerate(sorted(range(len(numbers)), key=numbers.__getitem__)):
        places[tensor] = place
    return places


def _edges(graph: OpGraph) -> list[Edge]:
    """From every operand to the result, with its place where the order counts."""
    edges = []
    for result, op in enumerate(graph.ops, graph.n_inputs):
        commutes = op.kind in COMMUTATIVE
        edges += [(t, result, 0 if commutes else place) for place, t in enumerate(op.inputs, 1)]
    return edges


def _details(graph: OpGraph, colours: Sequence[int]) -> dict[int, str]:
    """What equal structure does not show, where it differs: shapes, attributes as they are."""
    alike: dict[int, list[int]] = {}
    for tensor, colour in enumerate(colours):
        alike.setdefault(colour, []).append(tensor)
    details: dict[int, str] = {}
    for tensors in alike.values():
        if len(tensors) > 1 and len({_detail(graph, t) for t in tensors}) > 1:
            details.update((t, repr(_detail(graph, t))) for t in tensors)
    return details


def _detail(graph: OpGraph, tensor: int) -> tuple[object, ...]:
    index = graph.producer(tensor)
    attributes = () if index is None else graph.ops[index].attributes
    return graph.shape(tensor), attributes
