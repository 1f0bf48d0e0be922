"""The shape problem in plain integers: which sizes and widths make a segment fit its site.

A *size* is the spatial part of a shape, a *width* the number of channels. Tensors that must share
one are merged into a class beforehand, so the unknowns are one size per size class and one width
per width class. All costs are integers: both solvers and any brute force minimize the same sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autogo_onnx.shapes.windows import Size


@dataclass(frozen=True)
class Infeasible:
    """A segment that cannot take the demanded shapes, and why, in one line for a user."""

    reason: str


@dataclass(frozen=True)
class Factor:
    """The combinations of sizes that some size classes may take together, with their costs."""

    classes: tuple[int, ...]
    costs: Mapping[tuple[Size, ...], int]
    name: str


@dataclass(frozen=True)
class Equation:
    """`sum(coefficient * width) == 0` over `terms`, pairs of (width class, coefficient)."""

    terms: tuple[tuple[int, int], ...]
    name: str


@dataclass(frozen=True)
class Target:
    """A wish: `slope` for every channel that the class differs from `wanted`."""

    width: int
    wanted: int
    slope: int


@dataclass(frozen=True)
class Widths:
    """The width part of the problem.

    Attributes:
        names: of every class, for reasons.
        chosen: whether an operator is free to choose the class's width; then it lies on the
            lattice, unless the boundary sets it.
        targets, equations: what is wished and what must hold.
        fixed: classes whose structure sets the width (a one-channel gate).
        step: of the lattice.
        also: widths allowed beside the multiples of `step`: those of the boundary.
    """

    names: tuple[str, ...]
    chosen: tuple[bool, ...]
    targets: tuple[Target, ...]
    equations: tuple[Equation, ...]
    fixed: Mapping[int, int]
    step: int
    also: tuple[int, ...]

    def allows(self, number: int, width: int) -> bool:
        """Whether a class that the boundary does not set may take a width."""
        on_lattice = width % self.step == 0 or width in self.also
        return width > 0 and (on_lattice or not self.chosen[number])


@dataclass(frozen=True)
class Port:
    """The classes of one boundary tensor of the segment."""

    size: int
    width: int


@dataclass(frozen=True)
class Demand:
    """What one boundary tensor of the site asks for."""

    size: Size
    width: int


@dataclass(frozen=True)
class Side:
    """The boundary inputs (or outputs): each port must serve one demand.

    `costs[port][demand]` is None where the pair is impossible.
    """

    ports: tuple[Port, ...]
    demands: tuple[Demand, ...]
    costs: tuple[tuple[int | None, ...], ...]

    def cost(self, assignment: Sequence[int]) -> int | None:
        """Cost of an assignment (demand of every port); None when it is impossible."""
        costs = [row[demand] for row, demand in zip(self.costs, assignment, strict=True)]
        known = [c for c in costs if c is not None]
        return sum(known) if len(known) == len(costs) else None


@dataclass(frozen=True)
class Problem:
    """A whole shape problem; `domains[size class]` are the sizes that are reachable at all."""

    domains: tuple[tuple[Size, ...], ...]
    factors: tuple[Factor, ...]
    widths: Widths
    inputs: Side
    outputs: Side


@dataclass(frozen=True)
class Solution:
    """A size and a width per class, and which demand every input and output port serves."""

    sizes: tuple[Size, ...]
    widths: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def width_slopes(widths: Widths) -> tuple[int, ...]:
    """Tie-break: a price per channel for every class that may choose its width.

    Far below any `Target.slope`. Squares, so that moving channels between symmetric branches
    never leaves the sum alone: the answer must not hang on the solver's version.
    """
    return tuple(
        min((number + 1) ** 2, 999) if chosen else 0 for number, chosen in enumerate(widths.chosen)
    )


def width_cost(problem: Problem, widths: Sequence[int]) -> int:
    """Cost of one width per class."""
    wishes = sum(t.slope * abs(widths[t.width] - t.wanted) for t in problem.widths.targets)
    slopes = width_slopes(problem.widths)
    return wishes + sum(slope * width for slope, width in zip(slopes, widths, strict=True))


def cost(problem: Problem, solution: Solution) -> int:
    """The objective of a valid solution: assignment, sizes and widths.

    Raises:
        KeyError: the sizes break a factor.
    """
    sides = (
        problem.inputs.cost(solution.inputs) or 0,
        problem.outputs.cost(solution.outputs) or 0,
    )
    sizes = sum(f.costs[tuple(solution.sizes[c] for c in f.classes)] for f in problem.factors)
    return sum(sides) + sizes + width_cost(problem, solution.widths)
