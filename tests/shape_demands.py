"""Demands that a segment can meet: what its operators, as mined, make of other inputs."""

from __future__ import annotations

import random

from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.shapes.operators import read
from autogo_onnx.shapes.structure import Freedom, Structure, shape_of
from autogo_onnx.shapes.windows import Size


def meetable_demand(graph: OpGraph, seed: int) -> tuple[list[Shape], list[Shape]] | None:
    """Other sizes and multiplied widths at the boundary; None where the sizes come to nothing.

    Widths may still be out of reach (of a Slice of all but one channel).
    """
    rng = random.Random(seed)
    found = read(graph, Freedom())
    assert isinstance(found, Structure)
    more = rng.choice((1, 2, 3, 8))
    sizes = _sizes(found, [tuple(n + more for n in shape[2:]) for shape in graph.input_shapes])
    if sizes is None:
        return None
    factor = rng.choice((1, 2, 3))

    def demand(tensor: int) -> Shape:
        return shape_of(1, factor * found.width(tensor), sizes[tensor], found.layout[tensor])

    return [demand(t) for t in range(graph.n_inputs)], [demand(t) for t in graph.outputs]


def _sizes(found: Structure, inputs: list[Size]) -> list[Size] | None:
    """Of all tensors, when every operator stays as it was mined."""
    sizes: list[Size] = list(inputs)
    for index, op in enumerate(found.graph.ops):
        after: Size | None
        if index in found.options:
            after = found.options[index][0].size_map(sizes[op.inputs[0]])
        elif index in found.relations:
            relation = found.relations[index]
            after = relation.combine(tuple(sizes[t] for t in relation.parts))
        else:
            operands = {sizes[t] for t in op.inputs if t not in found.single}
            after = operands.pop() if len(operands) == 1 else None
        if after is None:
            return None
        sizes.append(after)
    return sizes
