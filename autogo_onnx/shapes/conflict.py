"""Why a shape problem has no solution: a minimal set of constraints that contradict each other.

A deletion filter on the integer problem: constraints are left out one after the other for as long
as there is still no solution. What remains is minimal, and short enough for one line.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from autogo_onnx.shapes.problem import Demand, Infeasible, Port, Problem, Side
from autogo_onnx.shapes.solver import solve

_MAX_SECONDS = 1.0
INPUTS, OUTPUTS = 0, 1

Tie = tuple[int, int]  # side, port


@dataclass(frozen=True)
class Kept:
    """The constraints that are not left out.

    Attributes:
        sizes, widths: boundary tensors whose size, or width, is the demanded one.
        factors, equations: by number.
    """

    sizes: frozenset[Tie]
    widths: frozenset[Tie]
    factors: frozenset[int]
    equations: frozenset[int]

    def without(self, kind: str, items: frozenset[Tie] | frozenset[int]) -> Kept:
        """With some constraints of a kind left out."""
        return replace(self, **{kind: getattr(self, kind) - items})


def minimal(problem: Problem) -> Kept:
    """Constraints without a solution of which none can be left out, if they are found in time."""
    problem = _without_wishes(problem)
    sides = enumerate((problem.inputs, problem.outputs))
    ties = frozenset((side, port) for side, each in sides for port in range(len(each.ports)))
    equations = frozenset(range(len(problem.widths.equations)))
    core = Kept(ties, ties, frozenset(range(len(problem.factors))), equations)
    end = time.monotonic() + _MAX_SECONDS
    for kinds in (("sizes", "factors"), ("widths", "equations")):  # most often one is to blame
        simpler = core
        for kind in kinds:
            simpler = simpler.without(kind, getattr(core, kind))
        if _is_infeasible(problem, simpler, end):
            core = simpler
            break
    for kind in ("factors", "sizes", "equations", "widths"):
        for item in sorted(getattr(core, kind), reverse=True):
            simpler = core.without(kind, frozenset([item]))
            if _is_infeasible(problem, simpler, end):
                core = simpler
    return core


def _without_wishes(problem: Problem) -> Problem:
    """The constraints alone.

    Neither the lattice nor groups are ever to blame: where nothing else fits, a width is off the
    lattice and a convolution has one group.
    """
    part = problem.widths
    free = replace(
        part, chosen=(False,) * len(part.chosen), targets=(), groupings=(), may_leave=True
    )
    factors = tuple(replace(f, costs=dict.fromkeys(f.costs, 0)) for f in problem.factors)
    return replace(problem, factors=factors, widths=free)


def _is_infeasible(problem: Problem, kept: Kept, end: float) -> bool:
    """Whether these constraints alone are too many; False as well when the time is over."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        return False
    found = solve(relaxed(problem, kept), seconds)
    return isinstance(found, Infeasible) and found.cause != "time"


def relaxed(problem: Problem, kept: Kept) -> Problem:
    """The problem with fewer constraints: a tie is cut by giving the port a class of its own."""
    domains, names = list(problem.domains), list(problem.widths.names)
    sides = []
    for number, side in ((INPUTS, problem.inputs), (OUTPUTS, problem.outputs)):
        ports = []
        for at, port in enumerate(side.ports):
            size, width = port.size, port.width
            if (number, at) not in kept.sizes:
                size = len(domains)
                domains.append(tuple(sorted({d.size for d in served(side, at)})))
            if (number, at) not in kept.widths:
                width = len(names)
                names.append("")
            ports.append(Port(size, width))
        sides.append(replace(side, ports=tuple(ports)))
    part = problem.widths
    equations = tuple(e for n, e in enumerate(part.equations) if n in kept.equations)
    chosen = (*part.chosen, *(False for _ in names[len(part.chosen) :]))
    part = replace(part, names=tuple(names), chosen=chosen, equations=equations)
    factors = tuple(f for n, f in enumerate(problem.factors) if n in kept.factors)
    return Problem(tuple(domains), factors, part, *sides)


def served(side: Side, port: int) -> list[Demand]:
    """The demands that a port may serve."""
    pairs = zip(side.demands[port], side.costs[port], strict=True)
    return [demand for demand, cost in pairs if cost is not None]
