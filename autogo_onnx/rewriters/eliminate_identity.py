"""Identity(x), Dropout(x) in inference, Pad(x) by nothing -> x.

Why: exporters leave them, and each is a copy of the tensor where it is not optimized away.
Safety: exact. Dropout is the identity unless its `training_mode` input is true (opset 12 and
later), and before opset 7 only where `is_test` is set.
Skips: Dropout that trains or whose mask is read; a tensor that is both made and read under names
that are visible outside (input straight to output, or read by a subgraph).
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.reading import (
    operand,
    other_outputs_used,
    producer,
    redirect_readers,
    setting,
)
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_DROPOUT_INFERS_BY_DEFAULT = 7


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, "Identity", "Dropout", "Pad"):
            continue
        reason = _refusal(view, node)
        if reason is None and node.outputs[0].name in view.fixed:
            yield Match((node, producer(node.inputs[0])))  # the maker changes its output
        elif reason is None:
            yield Match((node,))
        elif reason:
            yield Skip((node,), reason)


def apply(view: View, match: Match) -> None:
    node = match.nodes[0]
    source, result = node.inputs[0], node.outputs[0]
    disconnect(node)
    if len(match.nodes) == 1:
        redirect_readers(result, source)
        return
    # The result is visible outside and keeps its name, so the node before makes it directly.
    maker = match.nodes[1]
    redirect_readers(source, result)
    position = next(i for i, tensor in enumerate(maker.outputs) if tensor is source)
    maker.outputs[position] = result


def _refusal(view: View, node: gs.Node) -> str | None:
    """A reason to refuse; an empty one where the node is simply no identity."""
    if node.op == "Pad" and not _pads_nothing(node):
        return ""
    if node.op == "Dropout":
        training = operand(node, 2)
        flag = None if training is None else constant_value(training)
        if training is not None and (flag is None or bool(flag)):
            return "Dropout in training mode"
        if view.opset < _DROPOUT_INFERS_BY_DEFAULT and not node.attrs.get("is_test", 0):
            return "Dropout in training mode"
        if other_outputs_used(node, view.fixed):
            return "the mask of Dropout is read"
    source, result = node.inputs[0], node.outputs[0]
    if result.name in view.fixed and (producer(source) is None or source.name in view.fixed):
        return "its input and output are both visible outside"
    return None


def _pads_nothing(node: gs.Node) -> bool:
    pads = setting(node, "pads", 1)
    return pads is not None and not pads.any()


RULE = Rule("eliminate_identity", Safety.EXACT, find, apply)
