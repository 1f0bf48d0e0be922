"""Says in one line what contradicts what in a shape problem without a solution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

from autogo_onnx.shapes.assignment import Assignment, TooMany, assignments
from autogo_onnx.shapes.conflict import OUTPUTS, Kept, Tie, minimal, relaxed, served
from autogo_onnx.shapes.domains import text
from autogo_onnx.shapes.problem import Demand, Equation, Infeasible, Port, Problem, Side


def explain(problem: Problem) -> str:
    """What contradicts what, for a user; empty where it is not found out in time."""
    core = minimal(problem)
    sizes, widths = _about_sizes(problem, core), _about_widths(problem, core)
    if sizes and widths:
        return f"{widths}, where {sizes}"
    return widths or (sizes and f"these sizes do not go together: {sizes}")


def _side_of(problem: Problem, tie: Tie) -> tuple[Side, Port, str]:
    side = problem.outputs if tie[0] == OUTPUTS else problem.inputs
    return side, side.ports[tie[1]], side.names[tie[1]]


def _offers(problem: Problem, core: Kept, tie: Tie) -> list[Demand]:
    """The demands that a port may serve; where channels conflict, those of sizes in reach."""
    side, port, _ = _side_of(problem, tie)
    demands = served(side, tie[1])
    if tie not in core.sizes or not core.widths:
        return demands
    return [demand for demand in demands if demand.size in problem.domains[port.size]]


def _about_sizes(problem: Problem, core: Kept) -> str:
    pins = []
    for tie in sorted(core.sizes):
        sizes = {demand.size for demand in _offers(problem, core, tie)}
        pins.append(f"{_side_of(problem, tie)[2]} is {text(sizes)}")
    over = [problem.factors[number].name for number in sorted(core.factors)]
    if not pins and not over:
        return ""
    through = f", through {', '.join(dict.fromkeys(over))}" if over else ""
    return f"{', '.join(pins)}{through}"


def _about_widths(problem: Problem, core: Kept) -> str:
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


def _pin(problem: Problem, core: Kept, tie: Tie) -> str:
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


def _about_sum(problem: Problem, core: Kept, equation: Equation) -> str:
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


def _assigned(problem: Problem, core: Kept) -> list[Assignment]:
    """The widths that the boundary tensors of the core may set, by assignment."""
    none: frozenset[int] = frozenset()
    kept = replace(core, factors=none, equations=none)
    try:
        found = assignments(relaxed(problem, kept))
    except TooMany:
        return []
    return [] if isinstance(found, Infeasible) else found


def _total(equation: Equation, found: Assignment, sign: int) -> tuple[int, bool]:
    """Sum of one side of an equation, unknown widths at their least, and whether there are any."""
    terms = [(n, abs(c)) for n, c in equation.terms if sign * c > 0]
    total = sum(c * found.widths.get(n, 1) for n, c in terms)
    return total, any(n not in found.widths for n, _ in terms)
