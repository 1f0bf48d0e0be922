"""Why a shape problem has no solution: a minimal set of constraints that contradict each other.

A deletion filter on the integer problem: constraints are left out one after the other for as long
as there is still no solution. What remains is minimal, and short enough for one line.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

from autogo_onnx.shapes import direct
from autogo_onnx.shapes.assignment import Assignment, TooMany, assignments
from autogo_onnx.shapes.domains import text
from autogo_onnx.shapes.problem import Demand, Equation, Infeasible, Port, Problem, Side

_MAX_SECONDS = 1.0
_INPUTS, _OUTPUTS = 0, 1

_Tie = tuple[int, int]  # side, port


@dataclass(frozen=True)
class _Kept:
    """The constraints that are not left out.

    Attributes:
        sizes, widths: boundary tensors whose size, or width, is the demanded one.
        factors, equations: by number.
    """

    sizes: frozenset[_Tie]
    widths: frozenset[_Tie]
    factors: frozenset[int]
    equations: frozenset[int]

    def without(self, kind: str, items: frozenset[_Tie] | frozenset[int]) -> _Kept:
        """With some constraints of a kind left out."""
        return replace(self, **{kind: getattr(self, kind) - items})


def explain(problem: Problem) -> str:
    """What contradicts what, for a user; empty where it is not found out in time."""
    problem = _without_wishes(problem)
    core = _minimal(problem)
    sizes, widths = _about_sizes(problem, core), _about_widths(problem, core)
    if sizes and widths:
        return f"{widths}, where {sizes}"
    return widths or (sizes and f"these sizes do not go together: {sizes}")


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


def _minimal(problem: Problem) -> _Kept:
    """Constraints without a solution of which none can be left out."""
    sides = enumerate((problem.inputs, problem.outputs))
    ties = frozenset((side, port) for side, each in sides for port in range(len(each.ports)))
    equations = frozenset(range(len(problem.widths.equations)))
    core = _Kept(ties, ties, frozenset(range(len(problem.factors))), equations)
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


def _is_infeasible(problem: Problem, kept: _Kept, end: float) -> bool:
    """Whether these constraints alone are too many; False as well when the time is over."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        return False
    relaxed = _relaxed(problem, kept)
    found = direct.solve(relaxed)
    if found is None:
        from autogo_onnx.shapes import level_model  # slow to import

        found = level_model.solve(relaxed, seconds)
    return isinstance(found, Infeasible) and found.cause != "time"


def _relaxed(problem: Problem, kept: _Kept) -> Problem:
    """The problem with fewer constraints: a tie is cut by giving the port a class of its own."""
    domains, names = list(problem.domains), list(problem.widths.names)
    sides = []
    for number, side in ((_INPUTS, problem.inputs), (_OUTPUTS, problem.outputs)):
        ports = []
        for at, port in enumerate(side.ports):
            size, width = port.size, port.width
            if (number, at) not in kept.sizes:
                size = len(domains)
                domains.append(tuple(sorted({d.size for d in _served(side, at)})))
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


def _served(side: Side, port: int) -> list[Demand]:
    """The demands that a port may serve."""
    pairs = zip(side.demands[port], side.costs[port], strict=True)
    return [demand for demand, cost in pairs if cost is not None]


def _side_of(problem: Problem, tie: _Tie) -> tuple[Side, Port, str]:
    side = problem.outputs if tie[0] == _OUTPUTS else problem.inputs
    return side, side.ports[tie[1]], side.names[tie[1]]


def _offers(problem: Problem, core: _Kept, tie: _Tie) -> list[Demand]:
    """The demands that a port may serve; where channels conflict, those of sizes in reach."""
    side, port, _ = _side_of(problem, tie)
    served = _served(side, tie[1])
    if tie not in core.sizes or not core.widths:
        return served
    return [demand for demand in served if demand.size in problem.domains[port.size]]


def _about_sizes(problem: Problem, core: _Kept) -> str:
    pins = []
    for tie in sorted(core.sizes):
        sizes = {demand.size for demand in _offers(problem, core, tie)}
        pins.append(f"{_side_of(problem, tie)[2]} is {text(sizes)}")
    over = [problem.factors[number].name for number in sorted(core.factors)]
    if not pins and not over:
        return ""
    through = f", through {', '.join(dict.fromkeys(over))}" if over else ""
    return f"{', '.join(pins)}{through}"


def _about_widths(problem: Problem, core: _Kept) -> str:
    equations = [problem.widths.equations[number] for number in sorted(core.equations)]
    if len(equations) == 1:
        return _about_sum(problem, core, equations[0])
    pins = [_pin(problem, core, tie) for tie in sorted(core.widths)]
    if equations:
        said = [f"{e.name} means {_formula(problem, e)}" for e in equations]
        return f"these channels do not go together: {', '.join([*pins, *said])}"
    if not pins:
        return ""
    numbers = {_side_of(problem, tie)[1].width for tie in core.widths}
    fixed = [problem.widths.fixed[number] for number in numbers if number in problem.widths.fixed]
    if fixed:
        return f"{', '.join(pins)}, but by its structure {_channels(fixed)}"
    return f"nothing changes channels between these: {', '.join(pins)}"


def _pin(problem: Problem, core: _Kept, tie: _Tie) -> str:
    widths = {demand.width for demand in _offers(problem, core, tie)}
    return f"{_side_of(problem, tie)[2]} has {_channels(widths)}"


def _channels(numbers: Sequence[int] | set[int]) -> str:
    """`64 or 128 channels`."""
    shown = [str(n) for n in sorted(set(numbers))]
    more = " ..." if len(shown) > 3 else ""
    noun = "channel" if shown == ["1"] else "channels"
    return f"{' or '.join(shown[:3])}{more} {noun}"


def _formula(problem: Problem, equation: Equation) -> str:
    """`16 x Flatten (operator 2) = Gemm (operator 3)`, constants as numbers, in lowest terms."""
    common = gcd(*(coefficient for _, coefficient in equation.terms))

    def side(sign: int) -> str:
        terms = []
        for number, coefficient in equation.terms:
            name = problem.widths.names[number]
            if sign * coefficient > 0:
                times = abs(coefficient) // common
                terms.append(
                    str(times) if not name else name if times == 1 else f"{times} x {name}"
                )
        return " + ".join(terms) or "0"

    return f"{side(-1)} = {side(1)}"


def _about_sum(problem: Problem, core: _Kept, equation: Equation) -> str:
    """What one operator needs, and what its operands can give."""
    needs, can = set(), set()
    at_least = False
    for found in _assigned(problem, core):
        needs.add(_total(equation, found, -1)[0])
        total, is_open = _total(equation, found, 1)
        can.add(total)
        at_least |= is_open
    open_need = any(_total(equation, found, -1)[1] for found in _assigned(problem, core))
    pins = ", ".join(_pin(problem, core, tie) for tie in sorted(core.widths))
    is_multiple = at_least and max(needs, default=0) >= min(can, default=0)
    if not needs or open_need or is_multiple:
        return f"{equation.name} means {_formula(problem, equation)}, but {pins}"
    able = _channels({min(can)} if at_least else can)
    more = " or more" if at_least else ""
    givers = "branches" if equation.name.startswith("Concat") else "input"
    return f"{equation.name} needs {_channels(needs)}, its {givers} can give {able}{more} ({pins})"


def _assigned(problem: Problem, core: _Kept) -> list[Assignment]:
    """The widths that the boundary tensors of the core may set, by assignment."""
    none: frozenset[int] = frozenset()
    kept = replace(core, factors=none, equations=none)
    try:
        found = assignments(_relaxed(problem, kept))
    except TooMany:
        return []
    return [] if isinstance(found, Infeasible) else found


def _total(equation: Equation, found: Assignment, sign: int) -> tuple[int, bool]:
    """Sum of one side of an equation, unknown widths at their least, and whether there are any."""
    terms = [(n, abs(c)) for n, c in equation.terms if sign * c > 0]
    total = sum(c * found.widths.get(n, 1) for n, c in terms)
    return total, any(n not in found.widths for n, _ in terms)
