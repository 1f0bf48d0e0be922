"""x * 0.5 * (1 + Erf(x / sqrt(2))) -> Gelu(x); with Tanh(0.798 * (x + 0.0447 * x^3)) likewise.

Why: exporters spell GELU out below opset 20. ONNX Runtime finds the form with Erf by itself; the
one with Tanh it mostly does not, and there Gelu takes 0.87 of the time.
Safety: exact in real arithmetic but for the rounding of the constants to their own type. All places
and orders of the numbers, x^3 as Pow or Mul. NaN and infinity give what they gave.
Skips: a tensor in between that has another reader; float64, which ONNX Runtime has no Gelu for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.gating import Gated, gated
from autogo_onnx.rewriters.patterns.scalars import is_close, is_double, is_half, is_only_read_within
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_OPSET_OF_GELU = 20
_ERF = (0.0, math.sqrt(0.5))
_TANH = (0.0, math.sqrt(2 / math.pi), 0.0, 0.044715 * math.sqrt(2 / math.pi))


@dataclass(frozen=True)
class _Gelu(Match):
    """The nodes, the last one last; whether the form with Tanh; and the input."""

    x: gs.Tensor
    approximate: bool


def find(view: View) -> Iterator[Match | Skip]:
    if view.opset < _OPSET_OF_GELU:
        return
    for node in view.graph.nodes:
        if not is_op(node, "Erf", "Tanh"):
            continue
        found = next((g for g in gated(view, node.inputs[0], (node,)) if _is_gelu(view, g)), None)
        if found is None:
            continue
        if not is_only_read_within(found.nodes, view):
            yield Skip(found.nodes, "a tensor in between has another reader")
        elif is_double(view, found.x, found.nodes[-1].outputs[0]):
            yield Skip(found.nodes, "ONNX Runtime has no Gelu for float64")
        else:
            yield _Gelu(found.nodes, found.x, node.op == "Tanh")


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Gelu)
    result = match.nodes[-1].outputs[0]
    for node in match.nodes:
        disconnect(node)
    attributes = {"approximate": "tanh"} if match.approximate else {}
    view.insert("Gelu", [match.x], result, attributes)


def _is_gelu(view: View, product: Gated) -> bool:
    half = is_half(view, product.x)
    wanted = _ERF if len(product.argument.coefficients) == len(_ERF) else _TANH
    found = (*product.argument.coefficients, product.scale, product.shift)
    if len(found) != len(wanted) + 2 or (wanted is _ERF) != any(
        is_op(node, "Erf") for node in product.nodes
    ):
        return False
    return all(
        is_close(value, number, half=half)
        for value, number in zip(found, (*wanted, 0.5, 0.5), strict=True)
    )


RULE = Rule("fuse_gelu", Safety.EXACT, find, apply, on_trial=True)
