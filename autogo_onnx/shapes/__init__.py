"""Gives a segment other boundary shapes: strides, pads, groups and widths that make it fit a site.

The way: `operators` read what every operator says about sizes and widths, `posing` makes it a
problem in plain integers, `direct` solves the simple structures exactly, `level_model` the others
as a mixed-integer program, `writing` puts the answer back into the segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import log2

from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.shapes import direct
from autogo_onnx.shapes.operators import read
from autogo_onnx.shapes.posing import pose
from autogo_onnx.shapes.problem import Infeasible, Problem, Solution
from autogo_onnx.shapes.structure import Freedom
from autogo_onnx.shapes.writing import write

__all__ = ["Infeasible", "adapt"]


def adapt(
    segment: OpGraph,
    inputs: Sequence[Shape],
    outputs: Sequence[Shape],
    *,
    multiple_of: int = 8,
    max_seconds: float = 1.0,
) -> OpGraph | Infeasible:
    """The segment with other boundary shapes, as near to the mined one as they allow.

    Which boundary tensor of the segment serves which demand is part of the problem; the adapted
    segment has them in the demanded order. A segment that has the shapes already is returned as it
    is. The same arguments give the same answer in every process.

    Args:
        segment: as mined.
        inputs, outputs: full shapes (batch, channels, *spatial) that the boundary must have.
        multiple_of: channels inside are multiples of this, or equal to a boundary's.
        max_seconds: for the solver, where one is needed.

    >>> from autogo_onnx.opgraph import Op
    >>> conv = Op.make("Conv", (0,), kernel_shape=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1))
    >>> mined = OpGraph(((1, 8, 32, 32),), (conv,), ((1, 8, 32, 32),), (1,))
    >>> adapt(mined, [(1, 16, 9, 9)], [(1, 24, 5, 5)]).ops[0].get("strides")
    (2, 2)
    """
    inputs, outputs = [tuple(s) for s in inputs], [tuple(s) for s in outputs]
    if (segment.input_shapes, segment.output_shapes) == (tuple(inputs), tuple(outputs)):
        return segment
    refusal = _refusal(segment, inputs, outputs)
    if refusal:
        return Infeasible(refusal)
    each_axis = _is_uneven(inputs, outputs)
    result: OpGraph | Infeasible = Infeasible("")
    for unpadded in (False, True):  # dropping pads is the last resort: it loses the border
        freedom = Freedom(multiple_of, each_axis=each_axis, unpadded=unpadded)
        result = _adapt_within(segment, inputs, outputs, freedom, max_seconds)
        if isinstance(result, OpGraph):
            break
    return result


def solve(problem: Problem, max_seconds: float) -> Solution | Infeasible:
    """Directly where the structure allows it, else with the solver (imported only then)."""
    solution = direct.solve(problem)
    if solution is not None:
        return solution
    from autogo_onnx.shapes import level_model

    return level_model.solve(problem, max_seconds)


def _adapt_within(
    segment: OpGraph,
    inputs: Sequence[Shape],
    outputs: Sequence[Shape],
    freedom: Freedom,
    max_seconds: float,
) -> OpGraph | Infeasible:
    found = read(segment, freedom)
    if isinstance(found, Infeasible):
        return found
    problem = pose(found, inputs, outputs)
    if isinstance(problem, Infeasible):
        return problem
    solution = solve(problem, max_seconds)
    if isinstance(solution, Infeasible):
        return solution
    return write(found, solution, inputs, outputs)


def _refusal(segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> str:
    """Why these demands make no problem at all; empty when they do."""
    mined = (*segment.input_shapes, *segment.output_shapes)
    if (len(inputs), len(outputs)) != (segment.n_inputs, len(segment.outputs)):
        return (
            f"{segment.n_inputs} inputs and {len(segment.outputs)} outputs cannot serve "
            f"{len(inputs)} and {len(outputs)}"
        )
    if any(len(shape) < 2 or min(shape) < 1 for shape in (*mined, *inputs, *outputs)):
        return "a boundary shape without batch and channel axes, or of no elements"
    if len({shape[0] for shape in (*inputs, *outputs)}) > 1:
        return "the demanded shapes differ in their batch axis"
    return ""


def _is_uneven(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> bool:
    """Whether some path must shrink one axis more than another."""
    return any(
        len({round(log2(a / b)) for a, b in zip(given[2:], made[2:], strict=True)}) > 1
        for given, made in product(inputs, outputs)
        if len(given) == len(made)
    )
