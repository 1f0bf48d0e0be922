"""Reshape(x, Concat(Gather(Shape(x)), ...)) -> Reshape(x, [-1, 64, 8]), also with open dimensions.

Why: `x.view(x.shape[0], -1, 64)` is exported as a chain of Shape, Gather, Unsqueeze and Concat.
With a constant target the chain is dead, and every later shape is known.
Safety: exact for every size of the open dimensions. One open size becomes -1, beside positive
numbers only, so that an empty batch works as well; further ones become 0, "as in the input", where
they are proven to be the input's size on the same axis. Both in one target only where the original
had a -1 too: ONNX Runtime refuses -1 beside a size that is 0.
Skips: none; targets with sizes that cannot be told apart stay computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import is_constant
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.open_dims.open_sizes import Atom, atoms, constant_target
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Target(Match):
    """A Reshape and the constant that may replace its target."""

    target: list[int]


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, "Reshape") or len(node.inputs) < 2 or is_constant(node.inputs[1]):
            continue
        source = view.dimensions.of(node.inputs[0])
        result = view.dimensions.of(node.outputs[0])
        if source is None or result is None:
            continue
        target = constant_target(source, result, guard(view, node))
        if target is not None:
            yield _Target((node,), target)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Target)
    (node,) = match.nodes
    stem = f"{node.outputs[0].name}.target"
    node.inputs[1] = view.constant(stem, np.array(match.target, np.int64))
    node.attrs.pop("allowzero", None)


def guard(view: View, node: gs.Node) -> frozenset[Atom]:
    """The open sizes that are not 0 whenever a Reshape succeeds: those beside a -1."""
    target = view.dimensions.value(node.inputs[1])
    result = view.dimensions.of(node.outputs[0])
    if target is None or result is None or -1 not in target:
        return frozenset()
    sizes = (size for size, wanted in zip(result, target, strict=True) if wanted != -1)
    return frozenset().union(*(atoms(size) for size in sizes))


RULE = Rule("fold_reshape_target", Safety.EXACT, find, apply)
