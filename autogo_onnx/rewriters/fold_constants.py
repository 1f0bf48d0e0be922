"""Whatever has the same value in every run -> an initializer.

Why: exporters spell shapes, pads and slice bounds as chains of Shape, Gather, Concat, Cast, ...
nodes. Only when these are numbers can other rules (and ONNX Runtime's memory planner) use them.
Safety: exact. Values are computed by ONNX Runtime itself, one node at a time, with its
optimizations off. `Shape` counts as constant in those elements whose dimension is proven by the
declared *input* shapes, which ONNX Runtime enforces; declared output shapes prove nothing. Random
and quantization operators are never folded.
Skips: results that need more room than what they are computed from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autogo_onnx.liveness import disconnect
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Known(Match):
    """A node and what it always computes."""

    value: np.ndarray


def find(view: View) -> Iterator[Match | Skip]:
    facts = view.facts
    for node in view.graph.nodes:
        if len(node.outputs) != 1 or node.outputs[0].name in view.fixed:
            continue
        name = node.outputs[0].name
        if name in facts.values:
            yield _Known((node,), facts.values[name])
        elif name in facts.too_large:
            yield Skip((node,), "constant, but larger than what it is computed from")


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Known)
    node = match.nodes[0]
    result = node.outputs[0]
    disconnect(node)
    result.to_constant(match.value)


RULE = Rule("fold_constants", Safety.EXACT, find, apply)
