"""Concat(Split(x)) of all parts in their order -> x.

Why: channel shuffles with nothing left in between, and blocks that were pruned to the identity.
Safety: exact.
Skips: none.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import producer, redirect_readers
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for concat in view.graph.nodes:
        if not is_op(concat, "Concat") or concat.outputs[0].name in view.fixed:
            continue
        split = producer(concat.inputs[0])
        if split is None or not is_op(split, "Split") or len(split.outputs) == 1:
            continue
        pairs = zip(split.outputs, concat.inputs, strict=False)
        is_whole = len(split.outputs) == len(concat.inputs) and all(a is b for a, b in pairs)
        if is_whole and _is_same_axis(view, split, concat):
            yield Match((split, concat))


def apply(view: View, match: Match) -> None:
    split, concat = match.nodes
    source, result = split.inputs[0], concat.outputs[0]
    disconnect(concat)
    redirect_readers(result, source)
    if not any(part.outputs or part.name in view.fixed for part in split.outputs):
        disconnect(split)


def _is_same_axis(view: View, split: gs.Node, concat: gs.Node) -> bool:
    one, other = split.attrs.get("axis", 0), concat.attrs["axis"]
    shape = view.shape(split.inputs[0])
    return one == other or (shape is not None and one % len(shape) == other % len(shape))


RULE = Rule("eliminate_split_concat", Safety.EXACT, find, apply)
