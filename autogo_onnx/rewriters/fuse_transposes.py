"""Transpose(Transpose(x)) -> Transpose(x), or x where they undo one another.

Why: layers that want another layout each wrap themselves in a pair.
Safety: exact.
Skips: an inner Transpose that is read elsewhere, unless the outer one vanishes.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import another_reader, producer, redirect_readers
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


def find(view: View) -> Iterator[Match | Skip]:
    for outer in view.graph.nodes:
        if not is_op(outer, "Transpose"):
            continue
        inner = producer(outer.inputs[0])
        if inner is None or not is_op(inner, "Transpose"):
            continue
        perm = _joint(inner, outer)
        vanishes = perm == sorted(perm) and outer.outputs[0].name not in view.fixed
        if vanishes or another_reader(inner.outputs[0], view.fixed) is None:
            yield Match((inner, outer))


def apply(view: View, match: Match) -> None:
    inner, outer = match.nodes
    perm = _joint(inner, outer)
    source, result = inner.inputs[0], outer.outputs[0]
    if perm == sorted(perm) and result.name not in view.fixed:
        disconnect(outer)
        redirect_readers(result, source)
    elif perm == sorted(perm):
        outer.inputs[0] = source
        outer.op = "Identity"  # of two reversals not even the rank is known
        outer.attrs.clear()
    else:
        outer.inputs[0] = source
        outer.attrs["perm"] = perm
    middle = inner.outputs[0]
    if not middle.outputs and middle.name not in view.fixed:
        disconnect(inner)


def _joint(inner: gs.Node, outer: gs.Node) -> list[int]:
    """The permutation of both; no `perm` means: in reverse."""
    perms = [list(node.attrs["perm"]) for node in (inner, outer) if "perm" in node.attrs]
    if not perms:
        return [0]  # two reversals
    rank = len(perms[0])
    first, second = (list(node.attrs.get("perm", range(rank)[::-1])) for node in (inner, outer))
    return [first[axis] for axis in second]


RULE = Rule("fuse_transposes", Safety.EXACT, find, apply)
