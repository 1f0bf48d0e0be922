"""Concat(Concat(a, b), c) on one axis -> Concat(a, b, c).

Why: feature pyramids and exporters of `torch.cat` in loops join bit by bit; every step copies all
that came before.
Safety: exact.
Skips: an inner Concat that is read elsewhere, as in a DenseNet; axes that are not proven equal.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for outer in view.graph.nodes:
        if not is_op(outer, "Concat") or _is_inner(view, outer):
            continue
        inner = _inner_concats(view, outer)
        if inner:
            yield Match((outer, *inner))


def apply(view: View, match: Match) -> None:
    outer, *inner = match.nodes
    taken = {id(node) for node in inner}
    leaves: list[gs.Tensor] = []
    waiting = list(outer.inputs)[::-1]
    while waiting:
        tensor = waiting.pop()
        maker = producer(tensor)
        if maker is not None and id(maker) in taken:
            waiting += list(maker.inputs)[::-1]
        else:
            leaves.append(tensor)
    for node in inner:
        disconnect(node)
    outer.inputs = leaves


def _inner_concats(view: View, outer: gs.Node) -> list[gs.Node]:
    """All Concats that end up in this one alone, nested ones included."""
    found: list[gs.Node] = []
    waiting = [outer]
    while waiting:
        for tensor in waiting.pop().inputs:
            maker = producer(tensor)
            if maker is not None and is_op(maker, "Concat") and _is_inner(view, maker):
                found.append(maker)
                waiting.append(maker)
    return found


def _is_inner(view: View, node: gs.Node) -> bool:
    """Whether another Concat on the same axis is the only reader."""
    result = node.outputs[0]
    if another_reader(result, view.fixed) or not result.outputs:
        return False
    reader = result.outputs[0]
    if not is_op(reader, "Concat"):
        return False
    own, its = node.attrs["axis"], reader.attrs["axis"]
    if own == its:
        return True
    shape = view.shape(result)
    return shape is not None and own % len(shape) == its % len(shape)


RULE = Rule("fuse_concats", Safety.EXACT, find, apply)
