"""Reshape, Flatten, Squeeze, Unsqueeze in a row -> one Reshape.

Why: exporters flatten, add an axis and reshape again; only the last shape matters. A Transpose that
moves axes of one element only is such a step, too.
Safety: exact for every size of the open dimensions, by the rules of `fold_reshape_target`: no 0 is
carried over to another input, where it would copy another size.
Skips: chains whose last shape cannot be written as a constant for the first input; steps whose
result is read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.fold_reshape_target import guard
from autogo_onnx.rewriters.open_dims.open_sizes import Atom, constant_target
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Chain(Match):
    """Steps from first to last, and the target of the one Reshape that does the same."""

    target: list[int]


def find(view: View) -> Iterator[Match | Skip]:
    for last in view.graph.nodes:
        if not _is_step(view, last) or _is_inner(view, last):
            continue
        steps = _steps_until(view, last)
        if len(steps) < 2 or all(step.op == "Transpose" for step in steps):
            continue
        source = view.dimensions.of(steps[0].inputs[0])
        result = view.dimensions.of(last.outputs[0])
        if source is None or result is None:
            continue
        target = constant_target(source, result, _guards(view, steps))
        if target is None:
            yield Skip(tuple(steps), "the last shape depends on several open dimensions")
        else:
            yield _Chain(tuple(steps), target)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Chain)
    source, result = match.nodes[0].inputs[0], match.nodes[-1].outputs[0]
    for node in match.nodes:
        disconnect(node)
    target = view.constant(f"{result.name}.target", np.array(match.target, np.int64))
    view.insert("Reshape", [source, target], result)


def _is_step(view: View, node: gs.Node) -> bool:
    if is_op(node, "Transpose"):
        return _moves_single_elements(view, node)
    return is_op(node, "Flatten", "Reshape", "Squeeze", "Unsqueeze")


def _moves_single_elements(view: View, node: gs.Node) -> bool:
    shape = view.shape(node.inputs[0])
    if shape is None:
        return False
    order = node.attrs.get("perm", range(len(shape))[::-1])
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)


def _is_inner(view: View, node: gs.Node) -> bool:
    """Whether a later step takes the node in."""
    result = node.outputs[0]
    if another_reader(result, view.fixed) or not result.outputs:
        return False
    reader = result.outputs[0]
    return _is_step(view, reader) and reader.inputs[0] is result


def _steps_until(view: View, last: gs.Node) -> list[gs.Node]:
    steps = [last]
    while True:
        before = producer(steps[-1].inputs[0])
        if before is None or not _is_step(view, before) or not _is_inner(view, before):
            return steps[::-1]
        steps.append(before)


def _guards(view: View, steps: list[gs.Node]) -> frozenset[Atom]:
    return frozenset().union(*(guard(view, s) for s in steps if is_op(s, "Reshape")))


RULE = Rule("fuse_reshapes", Safety.EXACT, find, apply)
