"""Not(Not(x)), Neg(Neg(x)) -> x; Relu(Relu(x)), Abs(Abs(x)), Ceil(Ceil(x)), ... -> one of them.

Why: an activation that a module and its caller both apply; negations met by exporters of masks.
Safety: exact, NaN, infinities and -0.0 included: the first two undo themselves, the others do
nothing to their own results.
Skips: none.
"""

from __future__ import annotations

from collections.abc import Iterator

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.bypass import bypass, bypassing
from autogo_onnx.rewriters.patterns.reading import producer, redirect_readers
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_UNDO_THEMSELVES = ("Neg", "Not")
_DO_NO_MORE = ("Abs", "Ceil", "Floor", "Relu", "Round", "Sign")


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, *_UNDO_THEMSELVES, *_DO_NO_MORE):
            continue
        inner = producer(node.inputs[0])
        if inner is None or not is_op(inner, node.op):
            continue
        if node.op in _DO_NO_MORE:
            yield bypassing(view, node)
        elif node.outputs[0].name not in view.fixed:
            yield Match((node, inner))


def apply(view: View, match: Match) -> None:
    if match.nodes[0].op in _DO_NO_MORE:
        bypass(view, match)
        return
    outer, inner = match.nodes
    result = outer.outputs[0]
    disconnect(outer)
    redirect_readers(result, inner.inputs[0])


RULE = Rule("eliminate_repetition", Safety.EXACT, find, apply)
