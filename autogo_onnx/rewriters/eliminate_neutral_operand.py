"""x * 1, x / 1, x + 0, x - 0, x ** 1, And(x, true), Or(x, false), Where(constant, x, y) -> x.

Why: scales and shifts that training left at their initial values, masks that mask nothing.
Safety: exact, NaN and infinities included, with one exception: -0.0 + 0 is +0.0, and here stays
-0.0. The two are equal numbers; only their reciprocals differ.
Skips: constants that would enlarge the result by broadcasting; where that is not ruled out for
every open dimension, the node stays.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.patterns.bypass import bypass, bypassing
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "Pow": 1, "And": True, "Or": False}
_EITHER_SIDE = ("Add", "Mul", "And", "Or")


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if node.op not in _NEUTRAL and node.op != "Where":
            continue
        if not is_op(node, node.op):
            continue
        kept = _kept_by_condition(node) if node.op == "Where" else _kept_by_operand(node)
        if kept is None:
            continue
        if _is_whole_result(view, node, kept):
            yield bypassing(view, node, kept)
        else:
            yield Skip((node,), f"{node.op} may enlarge its input by broadcasting")


def _kept_by_operand(node: gs.Node) -> int | None:
    """Index of the input that is the result but for broadcasting; None if there is none."""
    sides = (1, 0) if node.op in _EITHER_SIDE else (1,)
    return next((1 - side for side in sides if _is_neutral(node, side)), None)


def _is_neutral(node: gs.Node, side: int) -> bool:
    value = constant_value(node.inputs[side])
    return value is not None and value.size > 0 and bool((value == _NEUTRAL[node.op]).all())


def _kept_by_condition(node: gs.Node) -> int | None:
    condition = constant_value(node.inputs[0])
    if condition is None or condition.size == 0 or not (condition == condition.flat[0]).all():
        return None
    return 1 if condition.flat[0] else 2


def _is_whole_result(view: View, node: gs.Node, kept: int) -> bool:
    others = [t for index, t in enumerate(node.inputs) if index != kept]
    sizes = view.dimensions.of(node.inputs[kept])
    return sizes is not None and all(
        _broadcasts_into(view.dimensions.of(other), sizes) for other in others
    )


def _broadcasts_into(other: tuple[object, ...] | None, sizes: tuple[object, ...]) -> bool:
    """Whether an operand of the one shape leaves the other shape as it is."""
    if other is None or len(other) > len(sizes):
        return False
    aligned = sizes[len(sizes) - len(other) :]
    return all(size in (1, own) for size, own in zip(other, aligned, strict=True))


RULE = Rule("eliminate_neutral_operand", Safety.EXACT, find, bypass)
