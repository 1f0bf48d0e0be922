"""Gives a segment other boundary shapes: strides, pads, groups and widths that make it fit a site.

The way: `operators` read what every operator says about sizes and widths, `posing` makes it a
problem in plain integers, `direct` solves the simple structures exactly, `level_model` the others
as a mixed-integer program, `writing` puts the answer back into the segment. `conflict` says why
there is no answer. What is minimized stands in `problem`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import log2

from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.shapes import direct
from autogo_onnx.shapes.cutting import joins_constant
from autogo_onnx.shapes.operators import read
from autogo_onnx.shapes.posing import alternatives
from autogo_onnx.shapes.problem import Infeasible, Problem, Solution, cost
from autogo_onnx.shapes.solver import Solver
from autogo_onnx.shapes.structure import Freedom, Structure
from autogo_onnx.shapes.writing import write

__all__ = ["Infeasible", "Solver", "adapt"]

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
    refusal = _refusal(segment, inputs, outputs)
    if refusal:
        return Infeasible(refusal)
    freedom = Freedom(multiple_of, each_axis=_is_uneven(inputs, outputs))
    solving = _Solving(solver)
    result = solving.adapted(segment, inputs, outputs, freedom)
    if isinstance(result, OpGraph) or result.cause in {"operators", "pins", "time"}:
        return result
    more = _last_resort(segment, freedom, _ratio(inputs, outputs))
    if not _may_help(segment, (freedom, more), result):
        return result
    last = solving.adapted(segment, inputs, outputs, more)
    return result if isinstance(last, Infeasible) and last.cause == "effort" else last


def solve(problem: Problem, max_seconds: float, solver: str = "CBC") -> Solution | Infeasible:
    """Directly where the structure allows it, else with the solver (imported only then)."""
    solution = direct.solve(problem)
    if solution is not None:
        return solution
    from autogo_onnx.shapes import level_model

    return level_model.solve(problem, max_seconds, solver)


@lru_cache(maxsize=2048)
def _read_once(segment: OpGraph, freedom: Freedom) -> Structure | Infeasible:
    """The structure of a mined segment, whose shapes say all there is to know."""
    for index in range(len(segment.ops)):
        if joins_constant(segment, index):
            return Infeasible(f"Concat (operator {index}): concatenation with a constant")
    return read(segment, freedom)


class _Solving:
    """One call: the solver's time is shared by all problems that it poses."""

    def __init__(self, solver: Solver) -> None:
        self.solver = solver
        self.left = solver.max_seconds

    def adapted(
        self,
        segment: OpGraph,
        inputs: Sequence[Shape],
        outputs: Sequence[Shape],
        freedom: Freedom,
    ) -> OpGraph | Infeasible:
        """On the lattice, else with as few widths as possible off it."""
        found = _read_once(segment, freedom)
        if isinstance(found, Infeasible):
            return replace(found, cause="operators")
        for leaves in (False, True):
            problems = alternatives(found, inputs, outputs, may_leave_lattice=leaves)
            if isinstance(problems, Infeasible):
                return problems
            best = self._best(problems)
            if isinstance(best, Solution):
                return write(found, best, inputs, outputs)
            result = best
            if result.cause in {"sizes", "pins", "time"} or not any(problems[0].widths.chosen):
                break
        return result

    def _best(self, problems: Sequence[Problem]) -> Solution | Infeasible:
        """The cheapest of the problems' solutions, or why the last, the least mined, has none."""
        found = [self._solved(problem) for problem in problems]
        best: tuple[int, Solution] | None = None
        for problem, solution in zip(problems, found, strict=True):
            if isinstance(solution, Solution):
                price = cost(problem, solution)
                best = (price, solution) if best is None or price < best[0] else best
        if best is not None:
            return best[1]
        return [each for each in found if isinstance(each, Infeasible)][-1]

    def _solved(self, problem: Problem) -> Solution | Infeasible:
        solution = direct.solve(problem)
        if solution is not None:
            return solution
        from autogo_onnx.shapes import level_model

        start = time.monotonic()
        solution = level_model.solve(problem, max(self.left, 0.0), self.solver.name)
        self.left -= time.monotonic() - start
        return solution


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


def _refusal(segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> str:
    """Why these demands make no problem at all; empty when they do."""
    mined = (*segment.input_shapes, *segment.output_shapes)
    if not segment.input_shapes or not segment.outputs:
        return "a segment without inputs or without outputs"
    if (len(inputs), len(outputs)) != (segment.n_inputs, len(segment.outputs)):
        return (
            f"{segment.n_inputs} inputs and {len(segment.outputs)} outputs cannot serve "
            f"{len(inputs)} and {len(outputs)}"
        )
    if any(len(shape) < 2 or min(shape) < 1 for shape in (*mined, *inputs, *outputs)):
        return "a boundary shape without batch and channel axes, or of no elements"
    if len({shape[0] for shape in (*inputs, *outputs)}) > 1:
        return "the demanded shapes differ in their batch axis"
    pairs = ((segment.input_shapes, inputs, "inputs"), (segment.output_shapes, outputs, "outputs"))
    for given, wanted, name in pairs:
        if sorted(map(len, given)) != sorted(map(len, wanted)):
            able, must = (" and ".join(_text(shape) for shape in each) for each in (given, wanted))
            return f"its {name} {able} have other numbers of axes than {must}"
    return ""


def _text(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


def _is_uneven(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> bool:
    """Whether some path must shrink one axis more than another."""
    return any(
        len({round(log2(a / b)) for a, b in zip(given[2:], made[2:], strict=True)}) > 1
        for given, made in product(inputs, outputs)
        if len(given) == len(made)
    )


def _ratio(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> float:
    """How much the site shrinks an axis, at most."""
    return max(
        (
            a / b
            for given, made in product(inputs, outputs)
            if len(given) == len(made)
            for a, b in zip(given[2:], made[2:], strict=True)
        ),
        default=1.0,
    )
