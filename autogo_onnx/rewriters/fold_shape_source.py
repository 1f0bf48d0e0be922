"""Gather(Shape(f(x)), i) -> Gather(Shape(x), j) where that size is proven to be one of x.

Why: sizes that are read off a late tensor keep it alive and differ from one another; read off the
tensor where they first appear, they are common subexpressions.
Safety: exact for every size of the open dimensions; equal sizes are proven, never declared.
Skips: none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.open_dims.open_sizes import Product
from autogo_onnx.rewriters.patterns.reading import producer
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.view import View


@dataclass(frozen=True)
class _Source(Match):
    """A Gather of a Shape, the tensor that has the size already, and on which axis."""

    tensor: gs.Tensor
    axis: int


def find(view: View) -> Iterator[Match | Skip]:
    origins: dict[str, gs.Tensor] = {}
    for node in view.graph.nodes:
        if not is_op(node, "Gather"):
            continue
        shape = producer(node.inputs[0])
        indices = constant_value(node.inputs[1])
        if shape is None or not is_op(shape, "Shape") or indices is None or indices.size != 1:
            continue
        value = view.dimensions.value(node.outputs[0])
        if value is None or not isinstance(value[0], Product) or value[0].coefficient != 1:
            continue
        if len(value[0].atoms) != 1 or not value[0].is_dimension:
            continue
        (atom,) = value[0].atoms
        if atom.tensor == shape.inputs[0].name:
            continue
        origins = origins or view.graph.tensors()
        if atom.tensor in origins:
            yield _Source((node,), origins[atom.tensor], atom.position)


def apply(view: View, match: Match) -> None:
    assert isinstance(match, _Source)
    (gather,) = match.nodes
    indices = constant_value(gather.inputs[1])
    assert indices is not None, "find() asked"
    readers = (n for n in match.tensor.outputs if is_op(n, "Shape") and not n.attrs)
    shape = next(readers, None)
    if shape is None:
        sizes = view.insert("Shape", [match.tensor], f"{match.tensor.name}.shape")
    else:
        sizes = shape.outputs[0]
    index = view.constant(f"{gather.outputs[0].name}.axis", np.full_like(indices, match.axis))
    gather.inputs = [sizes, index]


RULE = Rule("fold_shape_source", Safety.EXACT, find, apply)
