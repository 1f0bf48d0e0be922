"""Trailing optional outputs that nobody reads (masks, indices, statistics) -> not computed.

Why: MaxPool with indices nobody asked for and recurrent layers with all their states run slower
kernels, or are not recognized by other rules.
Safety: exact: the operator's definition marks these outputs as optional.
Skips: none. Variadic outputs (Split) say how many parts there are and stay; the number of outputs
of BatchNormalization says whether it trains (before opset 14), so they stay, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if len(node.outputs) < 2 or not is_op(node, node.op) or node.op == "BatchNormalization":
            continue
        if _used_outputs(view, node) < len(node.outputs):
            yield Match((node,))


def apply(view: View, match: Match) -> None:
    (node,) = match.nodes
    node.outputs = list(node.outputs)[: _used_outputs(view, node)]


def _used_outputs(view: View, node: gs.Node) -> int:
    """How many outputs are left without trailing ones that are optional and unread."""
    needed = _needed_outputs(node.op, view.opset)
    count = len(node.outputs)
    while count > needed:
        last = node.outputs[count - 1]
        if not last.is_empty() and (last.outputs or last.name in view.fixed):
            break
        count -= 1
    return count


@cache
def _needed_outputs(op: str, opset: int) -> int:
    """Number of outputs that must be there; many for an operator that is not known."""
    try:
        schema = onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return 2**31
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    if any(o.option == onnx.defs.OpSchema.FormalParameterOption.Variadic for o in schema.outputs):
        return 2**31
    return max([1, *(i + 1 for i, o in enumerate(schema.outputs) if o.option != optional)])


RULE = Rule("eliminate_unused_outputs", Safety.EXACT, find, apply)
