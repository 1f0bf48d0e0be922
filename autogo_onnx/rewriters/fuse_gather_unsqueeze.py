"""Unsqueeze(Gather(x, 3)) on the gathered axis -> Gather(x, [3]).

Why: exporters take a size out of a shape as a scalar and make a vector of it again, to join it with
others.
Safety: exact. A vector of one index keeps the axis that a scalar drops.
Skips: a Gather that is read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import another_reader, producer, setting
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for node in view.graph.nodes:
        if not is_op(node, "Unsqueeze"):
            continue
        gather = producer(node.inputs[0])
        if gather is None or not is_op(gather, "Gather"):
            continue
        indices, axes = constant_value(gather.inputs[1]), setting(node, "axes", 1)
        if indices is None or indices.ndim or axes is None or axes.size != 1:
            continue
        shape = view.shape(gather.inputs[0])
        if shape is None or another_reader(gather.outputs[0], view.fixed):
            continue
        if int(axes.reshape(-1)[0]) % len(shape) == gather.attrs.get("axis", 0) % len(shape):
            yield Match((gather, node))


def apply(view: View, match: Match) -> None:
    gather, unsqueeze = match.nodes
    index = constant_value(gather.inputs[1])
    assert index is not None, "find() asked"
    source, result = gather.inputs[0], unsqueeze.outputs[0]
    attributes = dict(gather.attrs)
    disconnect(gather)
    disconnect(unsqueeze)
    indices = view.constant(f"{result.name}.indices", index.reshape(1))
    view.insert("Gather", [source, indices], result, attributes)


RULE = Rule("fuse_gather_unsqueeze", Safety.EXACT, find, apply)
