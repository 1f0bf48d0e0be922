"""1 / (1 + Exp(-x)) -> Sigmoid(x); a / (1 + Exp(-x)) -> a * Sigmoid(x).

Why: SiLU and gates are spelled so by hand and by some exporters; 0.59 of the time, and ONNX Runtime
goes on to fuse x * Sigmoid(x) by itself.
Safety: exact in real arithmetic. NaN, infinity and arguments where Exp overflows give what they
gave (0, times `a` where that is finite).
Skips: a tensor in between that has another reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.gating import only_reader
from autogo_onnx.rewriters.patterns.reading import producer
from autogo_onnx.rewriters.patterns.scalars import is_only_read_within, number, scaled
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Sigmoid(Match):
    """The nodes, the last one last: `Sigmoid(x)`, times a numerator unless that is 1."""

    x: gs.Tensor
    numerator: gs.Tensor | None


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, "Exp"):
            continue
        found = _around(view, node)
        if found is None:
            continue
        if is_only_read_within(found.nodes, view):
            yield found
        else:
            yield Skip(found.nodes, "a tensor in between has another reader")


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Sigmoid)
    result = match.nodes[-1].outputs[0]
    for node in match.nodes:
        disconnect(node)
    if match.numerator is None:
        view.insert("Sigmoid", [match.x], result)
        return
    gate = view.insert("Sigmoid", [match.x], f"{result.name}.gate")
    view.insert("Mul", [match.numerator, gate], result)


def _around(view: View, exp: gs.Node) -> _Sigmoid | None:
    negation = producer(exp.inputs[0])
    step = None if negation is None else scaled(view, negation)
    plus_one = only_reader(view, exp)
    added = None if plus_one is None else scaled(view, plus_one)
    if step is None or added is None or negation is None or plus_one is None:
        return None
    if (step.scale, step.shift) != (-1.0, 0.0) or (added.scale, added.shift) != (1.0, 1.0):
        return None
    inverse = only_reader(view, plus_one)
    if inverse is None:
        return None
    nodes = (negation, exp, plus_one, inverse)
    if is_op(inverse, "Reciprocal"):
        return _Sigmoid(nodes, step.source, None)
    if not is_op(inverse, "Div") or inverse.inputs[0] is plus_one.outputs[0]:
        return None
    numerator = inverse.inputs[0]
    if numerator is negation.outputs[0]:
        return None
    is_one = number(view, numerator, step.source) == 1
    return _Sigmoid(nodes, step.source, None if is_one else numerator)


RULE = Rule("fuse_sigmoid", Safety.EXACT, find, apply, on_trial=True)
