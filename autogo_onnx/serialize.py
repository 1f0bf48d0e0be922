"""A graph as a sequence of tokens, the same for every way of numbering the same graph.

Canonical means: graphs that differ only in how tensors are numbered, in the order of boundary
tensors and in that of the operands of commuting operators give equal results. `Concat` does not
commute: the order of its operands is that of the channels, on which grouped convolutions, sums
with other tensors and whoever reads an output depend.

What decides is structure first: kinds, attributes that matter, edges, which tensors leave. Only
between parts of equal structure do shapes and the other attributes decide, so that graphs of one
structure have canonical forms that differ in nothing else. See `ordering.post_order` for the order
and `ordering.numbering` for what happens where parts are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from autogo_onnx.operator_labels import COMMUTATIVE, structure_labels, token_labels
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.ordering.post_order import post_order

_COUNT_CAP = 2
_DIGEST_BYTES = 16


def canonical_order(graph: OpGraph) -> tuple[int, ...]:
    """A topological order of operator indices; position decides nothing but between equals.

    Warns:
        NotCanonical: of graphs made to defeat it, which keep some order; see `ordering`.

    >>> ops = (Op("Sigmoid", (0,)), Op("Relu", (0,)), Op("Tanh", (2,)), Op("Mul", (1, 3)))
    >>> canonical_order(OpGraph(((1, 4),), ops, ((1, 4),) * 4, (4,)))
    (1, 2, 0, 3)
    """
    return post_order(graph)[0]


def canonical_form(graph: OpGraph) -> OpGraph:
    """The graph in canonical order: inputs numbered by first use, commuting operands ascending.

    Two graphs are the same, shapes and all attributes included, just when their forms are equal.

    Warns:
        NotCanonical: as `canonical_order`.
    """
    order, inputs = post_order(graph)
    number = {t: n for n, t in enumerate(inputs)}
    number.update({graph.n_inputs + i: len(inputs) + n for n, i in enumerate(order)})
    ops = []
    for index in order:
        op = graph.ops[index]
        operands = tuple([number[t] for t in op.inputs])
        if len(operands) > 1 and op.kind in COMMUTATIVE:
            operands = tuple(sorted(operands))
        ops.append(Op(op.kind, operands, op.attributes))
    return OpGraph(
        tuple([graph.input_shapes[t] for t in inputs]),
        tuple(ops),
        tuple([graph.op_shapes[i] for i in order]),
        tuple(sorted(number[t] for t in graph.outputs)),
    )


def structure(graph: OpGraph) -> tuple[object, ...]:
    """All that matters of a graph but shapes, numbered as it is.

    Of two canonical forms it is equal just when the graphs are isomorphic.
    """
    operands = tuple([op.inputs for op in graph.ops])
    return graph.n_inputs, tuple(structure_labels(graph)), operands, graph.outputs


def canonical_hash(graph: OpGraph, *, is_form: bool = False) -> str:
    """Digest (32 hex digits) of kinds, attributes that matter, edges, and which tensors leave.

    Blind to shapes (but for a convolution's being depthwise), to numbering and to the order of the
    boundary and of commuting operands. Graphs agree just when they are isomorphic. What is known
    to be a canonical form (`is_form`) is not put in order once more.

    Warns:
        NotCanonical: as `canonical_order`.
    """
    form = graph if is_form else canonical_form(graph)
    return blake2b(repr(structure(form)).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def tokens(graph: OpGraph, order: Sequence[int] | None = None) -> tuple[str, ...]:
    """One token per operator, in `order` (canonical unless given).

    A token reads `KIND:properties|predecessors|successors`; the kinds around the operator are
    sorted, `*2` stands for two or more. Cut at the first `|` or `:` it gives its coarser forms.

    >>> tokens(OpGraph(((1, 4),), (Op("Relu", (0,)),), ((1, 4),), (1,)))
    ('Relu:c=,r=|Input|Output',)
    """
    kinds = ["Input"] * graph.n_inputs + [op.kind for op in graph.ops]
    after: list[list[str]] = [[] for _ in kinds]
    for op in graph.ops:
        for tensor in op.inputs if len(op.inputs) == 1 else set(op.inputs):
            after[tensor].append(op.kind)
    for tensor in set(graph.outputs):
        after[tensor].append("Output")
    labels = token_labels(graph)
    first = graph.n_inputs
    return tuple(
        [
            f"{labels[index]}|{_multiset(*[kinds[t] for t in graph.ops[index].inputs])}"
            f"|{_multiset(*after[first + index])}"
            for index in (canonical_order(graph) if order is None else order)
        ]
    )


@lru_cache(maxsize=1 << 12)
def _multiset(*kinds: str) -> str:
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    return ",".join(
        kind if n == 1 else f"{kind}*{min(n, _COUNT_CAP)}" for kind, n in counts.items()
    )
