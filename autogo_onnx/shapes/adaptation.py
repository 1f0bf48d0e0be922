"""Adapting a segment: read, posed, solved and written, first with the usual freedom, then more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.shapes.cutting import joins_constant
from autogo_onnx.shapes.demands import is_uneven, largest_ratio, obstacle
from autogo_onnx.shapes.operators import read
from autogo_onnx.shapes.posing import alternatives
from autogo_onnx.shapes.problem import Infeasible, Problem, Solution, cost
from autogo_onnx.shapes.solver import Solver, Timed
from autogo_onnx.shapes.structure import Freedom, Structure
from autogo_onnx.shapes.writing import write

_FEW_WINDOWS = 2


def adapt(
    segment: OpGraph,
    inputs: Sequence[Shape],
    outputs: Sequence[Shape],
    *,
    multiple_of: int = 8,
    solver: Solver = Solver(),
) -> OpGraph | Infeasible:
    """The segment with other boundary shapes, as near to the mined one as they allow.

    Which boundary tensor of the segment serves which demand is part of the problem; the adapted
    segment has them in the demanded order. A segment that has the shapes already is returned as it
    is. The same arguments give the same answer in every process, unless time runs out.

    Args:
        segment: as mined.
        inputs, outputs: full shapes (batch, channels, *spatial) that the boundary must have.
        multiple_of: channels inside are multiples of this, or equal to a boundary's; where nothing
            else fits, as few as possible are neither.
        solver: where one is needed.

    >>> from autogo_onnx.opgraph import Op
    >>> conv = Op.make("Conv", (0,), kernel_shape=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1))
    >>> mined = OpGraph(((1, 8, 32, 32),), (conv,), ((1, 8, 32, 32),), (1,))
    >>> adapt(mined, [(1, 16, 9, 9)], [(1, 24, 5, 5)]).ops[0].get("strides")
    (2, 2)
    >>> adapt(mined, [(1, 16, 9, 9)], [(1, 24, 1, 1)]).reason
    'output 0 of Conv (operator 0) can be 2x2 or 2x3 or 3x2 ... but must be 1x1'
    """
    inputs, outputs = [tuple(s) for s in inputs], [tuple(s) for s in outputs]
    if (segment.input_shapes, segment.output_shapes) == (tuple(inputs), tuple(outputs)):
        return segment
    why = obstacle(segment, inputs, outputs)
    if why:
        return Infeasible(why)
    return _Adaptation(segment, inputs, outputs, Timed(solver)).result(multiple_of)


class _Adaptation:
    """One call: the solver's time is shared by all problems that it poses."""

    def __init__(
        self, segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape], solver: Timed
    ) -> None:
        self._segment = segment
        self._demands = inputs, outputs
        self._solver = solver

    def result(self, multiple_of: int) -> OpGraph | Infeasible:
        """With the usual freedom, or, where it could help, with that of the last resort."""
        usual = Freedom(multiple_of, each_axis=is_uneven(*self._demands))
        first = self._within(usual)
        if isinstance(first, OpGraph) or first.cause in {"operators", "pins", "time"}:
            return first
        more = _last_resort(self._segment, usual, largest_ratio(*self._demands))
        if not _may_help(self._segment, (usual, more), first):
            return first
        last = self._within(more)
        return first if isinstance(last, Infeasible) and last.cause == "effort" else last

    def _within(self, freedom: Freedom) -> OpGraph | Infeasible:
        """On the lattice, else with as few widths as possible off it."""
        found = _read_once(self._segment, freedom)
        if isinstance(found, Infeasible):
            return replace(found, cause="operators")
        for leaves in (False, True):
            problems = alternatives(found, *self._demands, may_leave_lattice=leaves)
            if isinstance(problems, Infeasible):
                return problems
            best = self._best(problems)
            if isinstance(best, Solution):
                return write(found, best, *self._demands)
            refusal = best
            if refusal.cause in {"sizes", "pins", "time"} or not any(problems[0].widths.chosen):
                break
        return refusal

    def _best(self, problems: Sequence[Problem]) -> Solution | Infeasible:
        """The cheapest of the problems' solutions, or why the last, the least mined, has none."""
        found = [self._solver.solve(problem) for problem in problems]
        priced = [
            (cost(problem, solution), number, solution)
            for number, (problem, solution) in enumerate(zip(problems, found, strict=True))
            if isinstance(solution, Solution)
        ]
        return min(priced)[-1] if priced else found[-1]


@lru_cache(maxsize=2048)
def _read_once(segment: OpGraph, freedom: Freedom) -> Structure | Infeasible:
    """The structure of a mined segment, whose shapes say all there is to know."""
    for index in range(len(segment.ops)):
        if joins_constant(segment, index):
            return Infeasible(f"Concat (operator {index}): concatenation with a constant")
    return read(segment, freedom)


def _last_resort(segment: OpGraph, freedom: Freedom, ratio: float) -> Freedom:
    """No pads, fewer groups; larger strides where the site asks for them; axes apart if few."""
    windows = sum("strides" in dict(op.attributes) for op in segment.ops)
    return replace(
        freedom,
        last_resort=True,
        each_axis=freedom.each_axis or windows <= _FEW_WINDOWS,
        strides=(1, 2, *(stride for stride in (3, 4) if ratio > stride - 0.5)),
    )


def _may_help(segment: OpGraph, freedoms: tuple[Freedom, Freedom], result: Infeasible) -> bool:
    """Whether the last resort offers anything, and anything against what stood in the way."""
    usual, more = (_read_once(segment, freedom) for freedom in freedoms)
    assert isinstance(usual, Structure), "it has been read"
    assert isinstance(more, Structure), "it has been read"
    if result.cause == "widths" and not usual.areas:
        return False
    return any(len(more.options[i]) > len(options) for i, options in usual.options.items())
