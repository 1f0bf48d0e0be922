"""Nodes that no graph output depends on -> nothing.

Why: exporters leave debris, and ONNX Runtime runs it when its own optimizations are off.
Safety: exact. Operators of unknown domains stay, since they may have effects.
Skips: none.
"""

from __future__ import annotations

from collections.abc import Iterator

from autogo_onnx.liveness import dead_nodes, disconnect
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for node in dead_nodes(view.graph):
        yield Match((node,))


def apply(view: View, match: Match) -> None:
    disconnect(match.nodes[0])


RULE = Rule("eliminate_dead_code", Safety.EXACT, find, apply)
