"""Trees of Add, Sub and Sum nodes as one sum of signed terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.view import View

_SUM_BROADCASTS = 8


@dataclass(frozen=True)
class Term:
    """A summand: a tensor, added or (negative) subtracted."""

    tensor: gs.Tensor
    negative: bool = False


@dataclass(frozen=True)
class Sum:
    """A largest tree of nodes that add.

    Attributes:
        terms: what it adds.
        nodes: that do so.
        result: what it makes.
        many: whether one of the nodes adds more than two terms.
    """

    terms: tuple[Term, ...]
    nodes: tuple[gs.Node, ...]
    result: gs.Tensor
    many: bool


def sums(view: View) -> Iterator[Sum]:
    """All sums of a graph; every node that adds is part of just one."""
    for node in view.graph.nodes:
        if _adds(node) and not _is_inner(view, node):
            yield _sum(view, node)


def write_sum(view: View, total: Sum, first: gs.Node, rest: Sequence[Term]) -> None:
    """Let what a sum made be what `first` makes plus other terms.

    Its own nodes are disconnected, and nothing makes its result any more. A sum that was spelled
    with Sum nodes, which take any number of terms, is spelled so again.
    """
    result = total.result
    plain = [term.tensor for term in rest if not term.negative]
    negative = [term.tensor for term in rest if term.negative]
    steps = [("Add", [tensor]) for tensor in plain] + [("Sub", [tensor]) for tensor in negative]
    if total.many and view.opset >= _SUM_BROADCASTS:
        if len(negative) > 1:
            negative = [view.insert("Sum", negative, f"{result.name}.subtracted")]
        steps = [("Sum" if len(plain) > 1 else "Add", plain)] if plain else []
        steps += [("Sub", negative)] if negative else []
    made = result if not steps else gs.Variable(view.new_name(f"{result.name}.merged"))
    first.outputs.append(made)
    for index, (op, operands) in enumerate(steps, 1):
        end = result if index == len(steps) else f"{result.name}.merged"
        made = view.insert(op, [made, *operands], end)


def _sum(view: View, root: gs.Node) -> Sum:
    terms: list[Term] = []
    nodes: list[gs.Node] = []
    waiting = [Term(root.outputs[0])]
    while waiting:
        term = waiting.pop()
        node = producer(term.tensor)
        if node is not None and (node is root or (_adds(node) and _is_inner(view, node))):
            nodes.append(node)
            parts = [Term(tensor, term.negative) for tensor in node.inputs]
            if is_op(node, "Sub"):
                parts[1] = Term(parts[1].tensor, not term.negative)
            waiting.extend(reversed(parts))
        else:
            terms.append(term)
    many = any(len(node.inputs) > 2 for node in nodes)
    return Sum(tuple(terms), tuple(nodes), root.outputs[0], many)


def _adds(node: gs.Node) -> bool:
    # Before opset 7, attributes of Add and Sub say how the second operand is broadcast.
    return is_op(node, "Add", "Sub", "Sum") and not node.attrs


def _is_inner(view: View, node: gs.Node) -> bool:
    """Whether the only reader of a node that adds adds, too."""
    made = node.outputs[0]
    return (
        another_reader(made, view.fixed) is None and bool(made.outputs) and _adds(made.outputs[0])
    )
