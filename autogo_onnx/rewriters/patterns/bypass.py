"""Taking out a node whose result is one of its inputs, unchanged."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect
from autogo_onnx.rewriters.patterns.reading import producer, redirect_readers
from autogo_onnx.rewriters.rule import Match, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class Bypass(Match):
    """A node, then the maker of its input where the result must keep its name."""

    index: int


def bypassing(view: View, node: gs.Node, index: int = 0) -> Match | Skip:
    """The match that takes a node out in favour of input `index`; its other outputs are unread."""
    source, result = node.inputs[index], node.outputs[0]
    if result.name not in view.fixed:
        return Bypass((node,), index)
    maker = producer(source)
    if maker is None or source.name in view.fixed:
        return Skip((node,), "its input and output are both visible outside")
    return Bypass((node, maker), index)


def bypass(view: View, match: Match) -> None:
    """Apply a match of `bypassing`."""
    assert isinstance(match, Bypass)
    node = match.nodes[0]
    source, result = node.inputs[match.index], node.outputs[0]
    disconnect(node)
    if len(match.nodes) == 1:
        redirect_readers(result, source)
        return
    # The result is visible outside and keeps its name, so the node before makes it directly.
    maker = match.nodes[1]
    redirect_readers(source, result)
    position = next(i for i, tensor in enumerate(maker.outputs) if tensor is source)
    maker.outputs[position] = result
