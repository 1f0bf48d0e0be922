"""Gemm(Transpose(a), Transpose(b)) -> Gemm(a, b) with transA and transB flipped.

Why: Gemm reads either order; the Transpose is a copy.
Safety: exact.
Skips: none. A Transpose that others read stays for them.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import producer
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_FLAGS = ("transA", "transB")


def find(view: View) -> Iterator[Match | Skip]:
    for gemm in view.graph.nodes:
        if not is_op(gemm, "Gemm"):
            continue
        transposes = [_transpose(gemm, index) for index in (0, 1)]
        found = {id(node): node for node in transposes if node is not None}
        if found:
            yield Match((gemm, *found.values()))


def apply(view: View, match: Match) -> None:
    gemm, *transposes = match.nodes
    for index, flag in enumerate(_FLAGS):
        transpose = _transpose(gemm, index)
        if transpose is not None:
            gemm.inputs[index] = transpose.inputs[0]
            gemm.attrs[flag] = 1 - gemm.attrs.get(flag, 0)
    for transpose in transposes:
        result = transpose.outputs[0]
        if not result.outputs and result.name not in view.fixed:
            disconnect(transpose)


def _transpose(gemm: gs.Node, index: int) -> gs.Node | None:
    """The Transpose that makes an input; that one is a matrix, so the axes are swapped."""
    node = producer(gemm.inputs[index])
    if node is None or not is_op(node, "Transpose"):
        return None
    return node if list(node.attrs.get("perm", (1, 0))) == [1, 0] else None


RULE = Rule("fuse_transpose_gemm", Safety.EXACT, find, apply)
