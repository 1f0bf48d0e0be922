"""Other widths inside a segment whose boundary, strides and pads stay as they are.

The shape problem of a segment in its own shapes, with widths fixed or wished for: what follows from
them (a depthwise convolution, a concatenation, its other branches) is left to the problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autogo_onnx.opgraph import OpGraph
from autogo_onnx.shapes.cutting import joins_constant
from autogo_onnx.shapes.operators import read
from autogo_onnx.shapes.posing import pose
from autogo_onnx.shapes.problem import Infeasible, Problem
from autogo_onnx.shapes.solver import solve
from autogo_onnx.shapes.structure import Freedom, Structure
from autogo_onnx.shapes.writing import write


@dataclass(frozen=True)
class Interior:
    """A segment that is to keep its boundary.

    Attributes:
        segment: as mined.
        free: mined width of every class of widths that operators choose and the boundary does not
            set, by class.
    """

    segment: OpGraph
    free: Mapping[int, int]
    _found: Structure
    _problem: Problem

    def fixed(self, widths: Mapping[int, int], max_seconds: float = 1.0) -> OpGraph | Infeasible:
        """The segment with these widths of free classes, all others as near to mined as may be.

        Args:
            widths: channels by class; without any, the widths are made consistent again after an
                operand was taken from a concatenation.
            max_seconds: for the solver, where one is needed.
        """
        part = self._problem.widths
        return self._solved(
            replace(self._problem, widths=replace(part, fixed={**part.fixed, **widths})),
            max_seconds,
        )

    def wished(self, widths: Mapping[int, int], max_seconds: float = 1.0) -> OpGraph | Infeasible:
        """The segment with widths of free classes as near to these as the others allow."""
        part = self._problem.widths
        targets = tuple(replace(t, wanted=widths.get(t.width, t.wanted)) for t in part.targets)
        return self._solved(
            replace(self._problem, widths=replace(part, targets=targets)), max_seconds
        )

    def _solved(self, problem: Problem, max_seconds: float) -> OpGraph | Infeasible:
        solution = solve(problem, max_seconds)
        if isinstance(solution, Infeasible):
            return solution
        shapes = self.segment.input_shapes, self.segment.output_shapes
        return write(self._found, solution, *shapes)


def interior(
    segment: OpGraph, multiple_of: int = 8, *, is_whole: bool = True
) -> Interior | Infeasible:
    """A segment to be given other widths inside, or why its shapes cannot be reasoned about.

    Args:
        segment: as mined.
        multiple_of: free widths are multiples of this, or equal to a mined one.
        is_whole: false when operands were taken from a Concat, and the shapes behind it are those
            of before; otherwise a Concat of too few channels has a constant operand.

    >>> from autogo_onnx.opgraph import Op
    >>> kernel = {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}
    >>> pair = Op.make("Conv", (0,), **kernel), Op.make("Conv", (1,), **kernel)
    >>> inner = interior(OpGraph(((1, 8, 4, 4),), pair, ((1, 32, 4, 4), (1, 8, 4, 4)), (2,)))
    >>> inner.free, inner.fixed({1: 16}).op_shapes
    ({1: 32}, ((1, 16, 4, 4), (1, 8, 4, 4)))
    """
    tensors = range(segment.n_tensors)
    if not segment.outputs or any(not segment.shape(t) or 0 in segment.shape(t) for t in tensors):
        return Infeasible("no outputs, or a tensor of unknown shape or of no elements")
    if len({segment.shape(t)[0] for t in tensors}) > 1:
        return Infeasible("tensors that differ in their batch axis")
    if is_whole and any(joins_constant(segment, index) for index in range(len(segment.ops))):
        return Infeasible("concatenation with a constant")
    found = read(segment, Freedom(multiple_of, strides=()))
    if isinstance(found, Infeasible):
        return found
    for index, options in found.options.items():
        found.options[index] = tuple(option for option in options if option.cost == 0)
    problem = pose(found, segment.input_shapes, segment.output_shapes)
    if isinstance(problem, Infeasible):
        return problem
    ports = (*problem.inputs.ports, *problem.outputs.ports)
    held = {port.width for port in ports} | set(problem.widths.fixed)
    free: dict[int, int] = {}
    for tensor, number in enumerate(found.widths.classes()):
        if problem.widths.chosen[number] and number not in held:
            free.setdefault(number, found.width(tensor))
    also = tuple(sorted({*problem.widths.also, *free.values()}))
    problem = replace(problem, widths=replace(problem.widths, also=also))
    return Interior(segment, free, found, problem)
