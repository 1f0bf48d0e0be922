"""A part of a weight-free graph replaced by another of the same boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autogo_onnx.opgraph import Cut, Op, OpGraph


@dataclass(frozen=True)
class Splice:
    """A graph with a part of it replaced, and what in it stands for what.

    Attributes:
        origins: per operator, its index in the graph before; None for those of the replacement.
        outputs: the tensors that stand for the part's outputs.
    """

    graph: OpGraph
    origins: tuple[int | None, ...]
    outputs: tuple[int, ...]


def splice(whole: OpGraph, part: Cut, replacement: OpGraph) -> Splice:
    """The whole with a replacement of the same boundary in the place of a part.

    The operators keep their order, but for those that stood before the part's last and read the
    part, directly or not: they come behind the replacement.

    Args:
        whole: the graph.
        part: cut from it; convex, so no way leaves it and comes back.
        replacement: as many inputs and outputs, of the same shapes, as the part has.

    >>> from autogo_onnx.opgraph import cut
    >>> relu = OpGraph(((4,),), (Op("Relu", (0,)),), ((4,),), (1,))
    >>> tanh = OpGraph(((4,),), (Op("Tanh", (0,)),), ((4,),), (1,))
    >>> splice(relu, cut(relu, [0]), tanh).graph == tanh
    True
    """
    before, behind = _around(whole, part)
    start = whole.n_inputs + len(before)
    inner = range(start, start + len(replacement.ops))
    number = list(range(whole.n_tensors))
    for place, index in enumerate(before, whole.n_inputs):
        number[whole.n_inputs + index] = place
    for place, index in enumerate(behind, inner.stop):
        number[whole.n_inputs + index] = place
    new = [*(number[t] for t in part.inputs), *inner]
    outputs = tuple([new[t] for t in replacement.outputs])
    for tensor, stands_for in zip(part.outputs, outputs, strict=True):
        number[tensor] = stands_for
    graph = OpGraph(
        input_shapes=whole.input_shapes,
        ops=(
            *(_numbered(whole.ops[i], number) for i in before),
            *(_numbered(op, new) for op in replacement.ops),
            *(_numbered(whole.ops[i], number) for i in behind),
        ),
        op_shapes=(
            *(whole.op_shapes[i] for i in before),
            *replacement.op_shapes,
            *(whole.op_shapes[i] for i in behind),
        ),
        outputs=tuple([number[t] for t in whole.outputs]),
    )
    return Splice(graph, (*before, *[None] * len(replacement.ops), *behind), outputs)


def _around(whole: OpGraph, part: Cut) -> tuple[list[int], list[int]]:
    """The operators that come before a replacement of the part, and those behind it."""
    members, stale, last = set(part.ops), set(part.outputs), part.ops[-1]
    before = list(range(part.ops[0]))
    behind: list[int] = []
    for index in range(part.ops[0], last):
        if index not in members:
            reads_it = not stale.isdisjoint(whole.ops[index].inputs)
            (behind if reads_it else before).append(index)
            if reads_it:
                stale.add(whole.n_inputs + index)
    return before, [*behind, *range(last + 1, len(whole.ops))]


def _numbered(op: Op, number: Sequence[int]) -> Op:
    """The operator with other tensor numbers; itself where they are the same."""
    inputs = tuple([number[t] for t in op.inputs])
    return op if inputs == op.inputs else Op(op.kind, inputs, op.attributes)
