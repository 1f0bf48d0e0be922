"""The shape problem in plain integers: which sizes and widths make a segment fit its site.

A *size* is the spatial part of a shape, a *width* the number of channels. Tensors that must share
one are merged into a class beforehand, so the unknowns are one size per size class and one width
per width class.

What is minimized, as one integer, in millionths of the unit "one operator's width changed by its
own size":

- `|C - wanted| / wanted * (1 + descendants)` for every operator that chooses its width C, where
  `wanted` is the mined width scaled to the site (`Target`): the paper's weighted |dC|, relative, so
  that 8 channels of 16 are not worth the same as 8 of 512;
- the paper's |d(H+W+C)| and (in - out) of H and W as the price of an operator that must be written
  otherwise than mined (`Option`): stride changed 1, of a transposed convolution 0.5, samples
  skipped 0.5, pads changed 0.1 to 0.2, output padding 0.02 per pixel, a resize 0.5 per factor of
  two, groups 0.5 per halving, a map split into other proportions 0.3;
- 10 for a freely chosen width off the lattice (only where the lattice leaves no solution);
- `|log(demanded / mined width)|` for every boundary tensor and the demand that it serves;
- tie-breaks, a thousandth of that and less: every channel has a small price, rising from class to
  class (`width_slopes`), a change of strides or pads costs the less the earlier it stands, and
  boundary tensors serve demands in the given order. The cheapest solution is thus one and only,
  whatever the solver and its version.

Source: AutoGO's mixed-integer program adds channels, heights and widths with coefficients 1; here
each is relative to what was mined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autogo_onnx.shapes.windows import Size

OFF_LATTICE = 10_000_000
_SLOPES_SQUARED = 30


@dataclass(frozen=True)
class Infeasible:
    """A segment that cannot take the demanded shapes; `reason` says why, in one line for a user.

    Attributes:
        summary: what is known without looking further.
        cause: "sizes" or "widths" where it is known that these alone rule it out.
        problem: which, when the reason is read, is searched for a minimal conflict.
    """

    summary: str
    cause: str = field(default="", compare=False)
    problem: Problem | None = field(default=None, compare=False, repr=False)

    @cached_property
    def reason(self) -> str:
        """The operators and boundary tensors that contradict each other, with their numbers."""
        if self.problem is None:
            return self.summary
        from autogo_onnx.shapes import explanation  # refusals are many, readers of reasons few

        return explanation.explain(self.problem) or self.summary


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
class Grouping:
    """A convolution whose number of groups must divide the widths of its classes.

    `options` are pairs (groups, cost), the cheapest first and 1 among them.
    """

    classes: tuple[int, ...]
    options: tuple[tuple[int, int], ...]

    def cost(self, widths: Sequence[int]) -> int:
        """Of the cheapest number of groups that divides these widths."""
        return next(
            cost for groups, cost in self.options if not any(width % groups for width in widths)
        )

    def groups(self, *widths: int) -> int:
        """The cheapest number of groups that divides these widths."""
        return next(groups for groups, _ in self.options if not any(w % groups for w in widths))


@dataclass(frozen=True)
class Widths:
    """The width part of the problem.

    Attributes:
        names: of every class, for reasons.
        chosen: whether an operator is free to choose the class's width; then it lies on the
            lattice, unless the boundary sets it.
        targets, equations, groupings: what is wished and what must hold.
        fixed: classes whose structure sets the width (a one-channel gate).
        step: of the lattice.
        also: widths allowed beside the multiples of `step`: those of the boundary.
        may_leave: whether chosen widths may leave the lattice, for the price of `OFF_LATTICE`.
    """

    names: tuple[str, ...]
    chosen: tuple[bool, ...]
    targets: tuple[Target, ...]
    equations: tuple[Equation, ...]
    fixed: Mapping[int, int]
    step: int
    also: tuple[int, ...]
    groupings: tuple[Grouping, ...] = ()
    may_leave: bool = False

    def is_on_lattice(self, number: int, width: int) -> bool:
        """Whether a class has a width that costs nothing extra."""
        on_lattice = width % self.step == 0 or width in self.also
        return on_lattice or not self.chosen[number] or number in self.fixed

    def allows(self, number: int, width: int) -> bool:
        """Whether a class that the boundary does not set may take a width."""
        return width > 0 and (self.may_leave or self.is_on_lattice(number, width))


@dataclass(frozen=True)
class Port:
    """The classes of one boundary tensor of the segment."""

    size: int
    width: int


@dataclass(frozen=True)
class Demand:
    """What one boundary tensor of the site asks for, as a port's layout reads it."""

    size: Size
    width: int


@dataclass(frozen=True)
class Side:
    """The boundary inputs (or outputs): each port must serve one demand.

    `demands[port][demand]` and `costs[port][demand]`; a cost is None where the pair is impossible.
    `names` of the ports are for reasons.
    """

    ports: tuple[Port, ...]
    demands: tuple[tuple[Demand, ...], ...]
    costs: tuple[tuple[int | None, ...], ...]
    names: tuple[str, ...]

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

    Below any `Target.slope`. They rise strictly and, as squares do, unevenly, so that moving
    channels between symmetric branches never leaves the sum alone.
    """
    return tuple(_slope(number) if chosen else 0 for number, chosen in enumerate(widths.chosen))


def _slope(number: int) -> int:
    """Squares, and from 900 on a rise of 1: a segment of a hundred branches stays below 1000."""
    within = min(number + 1, _SLOPES_SQUARED)
    return within * within + max(0, number + 1 - _SLOPES_SQUARED)


def width_cost(problem: Problem, widths: Sequence[int]) -> int:
    """Cost of one width per class."""
    part = problem.widths
    wishes = sum(t.slope * abs(widths[t.width] - t.wanted) for t in part.targets)
    slopes = sum(s * w for s, w in zip(width_slopes(part), widths, strict=True))
    groups = sum(g.cost([widths[number] for number in g.classes]) for g in part.groupings)
    off = sum(not part.is_on_lattice(number, width) for number, width in enumerate(widths))
    return wishes + slopes + groups + OFF_LATTICE * off


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
