"""What labels say about architectures, found in a slow and plain way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations

from autogo_onnx.opgraph import Op, OpGraph, Shape, cut
from autogo_onnx.predictor_training.labels.four_node_cells import Meaning
from autogo_onnx.segment_db.families.four_nodes import EDGES

_AVERAGE = 0.37
_INPUT = 0.61


def value(operations: Sequence[str], meaning: Meaning, weights: Mapping[int, float]) -> float:
    """A cell on one number: operations with weights are curves, an average is linear."""
    nodes = [_INPUT, 0.0, 0.0, 0.0]
    for edge, (begin, end) in sorted(enumerate(EDGES), key=lambda item: item[1][1]):
        operation, read = operations[edge], nodes[begin]
        if operation == meaning.zero:
            continue
        if operation == meaning.identity and not (meaning.reduces and begin == 0):
            made = read
        elif operation == meaning.average:
            made = _AVERAGE * read
        else:
            # Nothing of nothing, as a convolution without bias makes.
            made = math.sin(weights[edge] * read) + len(operation) % 7 * math.tanh(read / 3)
        nodes[end] += made
    return nodes[3]


def weighted(operations: Sequence[str], meaning: Meaning) -> list[int]:
    """The edges on whose weights the cell's value depends."""
    plain = dict.fromkeys(range(len(EDGES)), 1.0)
    before = value(operations, meaning, plain)
    return [edge for edge in plain if value(operations, meaning, {**plain, edge: 1.4}) != before]


def compute_the_same(one: Sequence[str], other: Sequence[str], meaning: Meaning) -> bool:
    """Whether the weights of one cell can be given to the other so that it computes the same."""
    edges, others = weighted(one, meaning), weighted(other, meaning)
    if sorted(one[edge] for edge in edges) != sorted(other[edge] for edge in others):
        return False
    numbers = [1.13, 0.71, 1.57, 0.49, 1.91, 0.83]
    unused = dict.fromkeys(range(len(EDGES)), 1.0)
    wanted = value(one, meaning, {**unused, **dict(zip(edges, numbers, strict=False))})
    return any(
        [one[edge] for edge in edges] == [other[edge] for edge in order]
        and math.isclose(
            value(other, meaning, {**unused, **dict(zip(order, numbers, strict=False))}),
            wanted,
            rel_tol=1e-9,
        )
        for order in permutations(others)
    )


def rejoined(whole: OpGraph, place: range) -> OpGraph:
    """A network cut into predecessor, segment and successor, and put together again."""
    end = len(whole.ops)
    parts = [cut(whole, ops) for ops in (range(place.start), place, range(place.stop, end))]
    ops: list[Op] = []
    shapes: list[Shape] = []
    for part in parts:
        first = [*part.inputs, *(whole.n_inputs + index for index in part.ops)]
        ops += [replace(op, inputs=tuple(first[t] for t in op.inputs)) for op in part.graph.ops]
        shapes += part.graph.op_shapes
    return OpGraph(whole.input_shapes, tuple(ops), tuple(shapes), whole.outputs)
