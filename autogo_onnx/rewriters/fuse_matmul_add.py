"""Add(MatMul(x, w), b) of matrices -> Gemm(x, w, b).

Why: one node instead of two, and one that absorbs scales and shifts.
Safety: exact. Both factors are proven to be matrices, and the bias to broadcast into the product
without enlarging it.
Skips: a product that is read elsewhere; element types that ONNX Runtime's Gemm does not take.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_graphsurgeon as gs

from autogo_onnx.graph import is_constant
from autogo_onnx.liveness import disconnect, is_op
from autogo_onnx.rewriters.patterns.reading import another_reader, producer
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


def find(view: View) -> Iterator[Match | Skip]:
    for add in view.graph.nodes:
        if not is_op(add, "Add"):
            continue
        for side in (0, 1):
            matmul = producer(add.inputs[side])
            if matmul is None or not is_op(matmul, "MatMul"):
                continue
            if not is_constant(add.inputs[1 - side]) or not is_constant(matmul.inputs[1]):
                continue
            if not _is_gemm(view, matmul, add.inputs[1 - side]):
                continue
            reason = another_reader(matmul.outputs[0], view.fixed)
            yield Match((matmul, add)) if reason is None else Skip((matmul, add), reason)
            break


def apply(view: View, match: Match) -> None:
    matmul, add = match.nodes
    side = 1 if add.inputs[0] is matmul.outputs[0] else 0
    inputs, result = [*matmul.inputs, add.inputs[side]], add.outputs[0]
    disconnect(matmul)
    disconnect(add)
    view.insert("Gemm", inputs, result)


def _is_gemm(view: View, matmul: gs.Node, bias: gs.Tensor) -> bool:
    shapes = [view.shape(tensor) for tensor in matmul.inputs]
    if any(shape is None or len(shape) != 2 for shape in shapes):
        return False
    if view.element_type(matmul.outputs[0]) not in _FLOATS:
        return False
    row, width = view.shape(bias), view.shape(matmul.inputs[1])
    assert width is not None
    if row is None or len(row) > 2 or any(size != 1 for size in row[:-1]):
        return False
    return not row or row[-1] in (1, width[1])


RULE = Rule("fuse_matmul_add", Safety.EXACT, find, apply)
