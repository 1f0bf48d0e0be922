"""Identity(x), Dropout(x) in inference, Pad(x) by nothing, Concat(x), Split(x) into one -> x.

Why: exporters leave them, and each is a copy of the tensor where it is not optimized away.
Safety: exact. Dropout is the identity unless its `training_mode` input is true (opset 12 and
later), and before opset 7 only where `is_test` is set. Sum, Mean, Max and Min of one tensor are
that tensor.
Skips: Dropout that trains or whose mask is read; a tensor that is both made and read under names
that are visible outside (input straight to output, or read by a subgraph).
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.bypass import bypass, bypassing
from autogo_onnx.rewriters.patterns.reading import operand, other_outputs_used, setting
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_DROPOUT_INFERS_BY_DEFAULT = 7
_VARIADIC = ("Concat", "Sum", "Mean", "Max", "Min")


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, "Identity", "Dropout", "Pad", "Split", *_VARIADIC):
            continue
        reason = _refusal(view, node)
        if reason:
            yield Skip((node,), reason)
        elif reason is None:
            yield bypassing(view, node)


def _refusal(view: View, node: gs.Node) -> str | None:
    """A reason to refuse; an empty one where the node is simply no identity."""
    if node.op in _VARIADIC:
        return None if len(node.inputs) == 1 else ""
    if node.op == "Split":
        return None if len(node.outputs) == 1 else ""
    if node.op == "Pad":
        return None if _pads_nothing(node) else ""
    if node.op == "Identity":
        return None
    training = operand(node, 2)
    flag = None if training is None else constant_value(training)
    if training is not None and (flag is None or bool(flag)):
        return "Dropout in training mode"
    if view.opset < _DROPOUT_INFERS_BY_DEFAULT and not node.attrs.get("is_test", 0):
        return "Dropout in training mode"
    return "the mask of Dropout is read" if other_outputs_used(node, view.fixed) else None


def _pads_nothing(node: gs.Node) -> bool:
    pads = setting(node, "pads", 1)
    return pads is not None and not pads.any()


RULE = Rule("eliminate_identity", Safety.EXACT, find, bypass)
