"""A graph as a sequence of tokens, the same for every way of numbering the same graph.

Colours come first: every tensor gets a digest of what it is made from and what it is used for,
refined until no further tensors are told apart (Weisfeiler-Leman along and against the edges).
Operators then stand in post-order from the outputs, the deepest operand first, so that a branch is
written whole before the next one begins. Between branches of equal depth their last few operators
decide and only then the colours, so that the same cell reads the same wherever it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b

from autogo_onnx.operator_labels import COMMUTATIVE, structure_label, token_label
from autogo_onnx.opgraph import OpGraph

_COUNT_CAP = 2
_DIGEST_BYTES = 16
_NEARBY_HOPS = 4


def canonical_order(graph: OpGraph) -> tuple[int, ...]:
    """A topological order of operator indices that depends on the structure alone.

    Isomorphic graphs give the same sequence of tokens. What equal colours leave open is decided by
    what has been written before and then by position, which is the choice between operators that
    are interchangeable. (Graphs that Weisfeiler-Leman cannot tell apart, such as sums in two rings
    of three against one ring of six, may come out in two orders; no network is known to be one.)

    >>> from autogo_onnx.opgraph import Op
    >>> ops = (Op("Sigmoid", (0,)), Op("Relu", (0,)), Op("Tanh", (2,)), Op("Mul", (1, 3)))
    >>> canonical_order(OpGraph(((1, 4),), ops, ((1, 4),) * 4, (4,)))
    (1, 2, 0, 3)
    """
    return _PostOrder(graph).run()


def canonical_form(graph: OpGraph) -> OpGraph:
    """The graph in canonical order: inputs numbered by first use, commuting operands ascending."""
    order = canonical_order(graph)
    used = dict.fromkeys(t for i in order for t in graph.ops[i].inputs if t < graph.n_inputs)
    inputs = (*used, *(t for t in range(graph.n_inputs) if t not in used))
    number = {t: n for n, t in enumerate(inputs)}
    number.update({graph.n_inputs + i: len(inputs) + n for n, i in enumerate(order)})
    ops = []
    for index in order:
        op = graph.ops[index]
        operands = tuple(number[t] for t in op.inputs)
        ops.append(
            replace(op, inputs=tuple(sorted(operands)) if op.kind in COMMUTATIVE else operands)
        )
    return OpGraph(
        tuple(graph.shape(t) for t in inputs),
        tuple(ops),
        tuple(graph.op_shapes[i] for i in order),
        tuple(sorted(number[t] for t in graph.outputs)),
    )


def canonical_hash(graph: OpGraph) -> str:
    """Digest (32 hex digits) of kinds, attributes that matter, edges, and which tensors leave.

    Blind to shapes (but for a convolution's being depthwise), to numbering and to the order of the
    boundary and of commuting operands. Isomorphic graphs agree. That graphs which agree are
    isomorphic is nearly certain; where it matters, check.
    """
    colours = _colours(graph)
    leaving = sorted(colours[t] for t in graph.outputs)
    return _digest([*sorted(colours), b"outputs", *leaving]).hex()


def tokens(graph: OpGraph, order: Sequence[int] | None = None) -> tuple[str, ...]:
    """One token per operator, in `order` (canonical unless given).

    A token reads `KIND:properties|predecessors|successors`; the kinds around the operator are
    sorted, `*2` stands for two or more. Cut at the first `|` or `:` it gives its coarser forms.

    >>> from autogo_onnx.opgraph import Op
    >>> tokens(OpGraph(((1, 4),), (Op("Relu", (0,)),), ((1, 4),), (1,)))
    ('Relu:c=,r=|Input|Output',)
    """
    readers = graph.readers()
    kinds = ["Input"] * graph.n_inputs + [op.kind for op in graph.ops]
    leaves = set(graph.outputs)
    result = []
    for index in canonical_order(graph) if order is None else order:
        tensor = graph.n_inputs + index
        before = _multiset(kinds[t] for t in graph.ops[index].inputs)
        after = [graph.ops[r].kind for r in readers[tensor]] + ["Output"] * (tensor in leaves)
        result.append(f"{token_label(graph, index)}|{before}|{_multiset(after)}")
    return tuple(result)


def _multiset(kinds: Iterable[str]) -> str:
    counts = sorted(Counter(kinds).items())
    return ",".join(kind if n == 1 else f"{kind}*{min(n, _COUNT_CAP)}" for kind, n in counts)


class _PostOrder:
    """The walk from the outputs; its state is what has been written so far."""

    def __init__(self, graph: OpGraph) -> None:
        self._graph = graph
        self._colours = _colours(graph)
        self._depths = _depths(graph)
        self._nearby = _nearby(graph)
        self._position: dict[int, int] = {}  # an input's is that of its first reader
        self._order: list[int] = []

    def run(self) -> tuple[int, ...]:
        graph = self._graph
        readers = graph.readers()
        sinks = {t for t in range(graph.n_inputs, graph.n_tensors) if not readers[t]}
        outputs = {t for t in graph.outputs if t >= graph.n_inputs}
        for roots in (outputs, sinks - outputs):
            for root in sorted(roots, key=lambda t: (self._depths[t], self._colours[t], t)):
                self._write(root)
        return tuple(self._order)

    def _write(self, root: int) -> None:
        stack = [root]
        while stack:
            waiting = self._unwritten(stack[-1])
            if waiting:
                stack.append(waiting[0] if len(waiting) == 1 else self._first(waiting))
            else:
                self._append(stack.pop())

    def _append(self, tensor: int) -> None:
        index = self._graph.producer(tensor)
        if index is None or tensor in self._position:
            return
        position = len(self._order)
        self._order.append(index)
        self._position[tensor] = position
        for operand in self._graph.ops[index].inputs:
            self._position.setdefault(operand, position)

    def _unwritten(self, tensor: int) -> list[int]:
        index = self._graph.producer(tensor)
        if index is None or tensor in self._position:
            return []
        first, written = self._graph.n_inputs, self._position
        operands = self._graph.ops[index].inputs
        return [t for t in dict.fromkeys(operands) if t >= first and t not in written]

    def _first(self, waiting: list[int]) -> int:
        ranks = [(-self._depths[t], self._nearby[t], self._colours[t]) for t in waiting]
        tied = [t for t, rank in zip(waiting, ranks, strict=True) if rank == min(ranks)]
        return tied[0] if len(tied) == 1 else min(tied, key=lambda t: (self._frontier(t), t))

    def _frontier(self, tensor: int) -> list[int]:
        """Where the branch starts: positions of the written tensors it reads, latest first."""
        found, seen, stack = set(), {tensor}, [tensor]
        while stack:
            index = self._graph.producer(stack.pop())
            for operand in () if index is None else self._graph.ops[index].inputs:
                if operand in self._position:
                    found.add(-self._position[operand])
                elif operand not in seen:
                    seen.add(operand)
                    stack.append(operand)
        return sorted(found)


def _depths(graph: OpGraph) -> list[int]:
    """Number of operators on the longest way to every tensor."""
    depths = [0] * graph.n_inputs
    for op in graph.ops:
        depths.append(1 + max((depths[t] for t in op.inputs), default=0))
    return depths


def _nearby(graph: OpGraph) -> list[bytes]:
    """Colours that know the operators a few edges upstream and nothing else."""
    labels = [_label_digest(structure_label(graph, i), 0) for i in range(len(graph.ops))]
    inputs = [b""] * graph.n_inputs
    result = inputs + labels
    for _ in range(_NEARBY_HOPS):
        before, result = result, list(inputs)
        for op, label in zip(graph.ops, labels, strict=True):
            operands = [before[t] for t in op.inputs]
            parts = sorted(operands) if op.kind in COMMUTATIVE else operands
            result.append(_digest([label, *parts]))
    return result


def _colours(graph: OpGraph) -> list[bytes]:
    """A digest per tensor; equal for tensors that refinement cannot tell apart."""
    leaving = Counter(graph.outputs)
    labels = ["Input"] * graph.n_inputs
    labels += [structure_label(graph, index) for index in range(len(graph.ops))]
    colours = [_label_digest(label, leaving[t]) for t, label in enumerate(labels)]
    uses = _uses(graph)
    classes = 0
    while True:
        colours = _against(uses, _along(graph, colours))
        before, classes = classes, len(set(colours))
        if classes in (before, len(colours)):
            return colours


def _along(graph: OpGraph, colours: list[bytes]) -> list[bytes]:
    """Colours that know everything upstream."""
    result = colours[: graph.n_inputs]
    for op, colour in zip(graph.ops, colours[graph.n_inputs :], strict=True):
        operands = [result[t] for t in op.inputs]
        parts = sorted(operands) if op.kind in COMMUTATIVE else operands
        result.append(_digest([colour, *parts]))
    return result


def _against(uses: list[list[tuple[int, bytes]]], colours: list[bytes]) -> list[bytes]:
    """Colours that know everything downstream."""
    result = list(colours)
    for tensor in reversed(range(len(colours))):
        readers = sorted(result[reader] + place for reader, place in uses[tensor])
        result[tensor] = _digest([colours[tensor], *readers])
    return result


def _uses(graph: OpGraph) -> list[list[tuple[int, bytes]]]:
    """For every tensor, the tensors made from it and the operand's place (none if commuting)."""
    uses: list[list[tuple[int, bytes]]] = [[] for _ in range(graph.n_tensors)]
    for index, op in enumerate(graph.ops):
        commutes = op.kind in COMMUTATIVE
        for place, tensor in enumerate(op.inputs):
            number = 0 if commutes else place + 1
            uses[tensor].append((graph.n_inputs + index, number.to_bytes(4, "big")))
    return uses


@lru_cache(maxsize=1 << 14)
def _label_digest(label: str, leaving: int) -> bytes:
    return _digest([label.encode(), b"#%d" % leaving])


def _digest(parts: Iterable[bytes]) -> bytes:
    return blake2b(b"".join(parts), digest_size=_DIGEST_BYTES).digest()
