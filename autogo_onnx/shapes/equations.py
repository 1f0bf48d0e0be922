"""Equations between widths: sums of a Concat, constants of a Pad, areas of a Reshape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import log, prod

from autogo_onnx.shapes.problem import Equation, Factor, Widths
from autogo_onnx.shapes.structure import Area, Structure
from autogo_onnx.shapes.windows import Size

_Classes = tuple[int, ...]
Reached = tuple[tuple[tuple[Size, ...], ...], tuple[Factor, ...]]


def with_sums(part: Widths, found: Structure, widths: _Classes) -> Widths:
    """With the equations of sums; a constant is a class of width 1, a rest a class of its own."""
    names, fixed = list(part.names), dict(part.fixed)
    equations = []
    for each in found.sums:
        terms = _by_class(each.terms, widths)
        if each.leaves_rest:
            terms[len(names)] = -1
            names.append(f"the rest that {found.describe(each.index)} leaves")
        if each.constant:
            terms[len(names)] = each.constant
            fixed[len(names)] = 1
            names.append("")
        equations.append(Equation(_terms(terms), found.describe(each.index)))
    chosen = (*part.chosen, *(False for _ in names[len(part.chosen) :]))
    return replace(part, names=tuple(names), fixed=fixed, chosen=chosen, equations=tuple(equations))


def _by_class(terms: Sequence[tuple[int, int]], widths: _Classes) -> dict[int, int]:
    """Terms by tensor as terms by class; a class that stands twice is counted twice."""
    total: dict[int, int] = {}
    for tensor, coefficient in terms:
        total[widths[tensor]] = total.get(widths[tensor], 0) + coefficient
    return total


def _terms(total: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple((number, coefficient) for number, coefficient in total.items() if coefficient)


def settled(reached: Reached, found: Structure, sizes: _Classes) -> Iterator[Reached]:
    """The reached sizes, divided until every area has one value; those nearest to mined first."""
    domains, factors = reached
    values: dict[int, list[tuple[Size, ...]]] = {}
    for area in found.areas:
        for tensor, places in ((area.given, area.given_at), (area.made, area.made_at)):
            if places:
                number = sizes[tensor]
                parts = values.get(number, [domains[number]])
                mined = _area(found.size(tensor), places)
                values[number] = [p for part in parts for p in _divided(part, places, mined)]
    for choice in product(*values.values()):
        chosen = dict(zip(values, choice, strict=True))
        within = tuple(chosen.get(number, domain) for number, domain in enumerate(domains))
        kept = tuple(_restricted(factor, chosen) for factor in factors)
        if all(factor.costs for factor in kept):
            yield within, kept


def _divided(part: tuple[Size, ...], places: Sequence[int], mined: int) -> list[tuple[Size, ...]]:
    by_area: dict[int, list[Size]] = {}
    for size in part:
        by_area.setdefault(_area(size, places), []).append(size)
    nearest = sorted(by_area, key=lambda area: (abs(log(area / mined)), area))
    return [tuple(by_area[area]) for area in nearest]


def _area(size: Size, places: Sequence[int]) -> int:
    return prod(size[place] for place in places)


def _restricted(factor: Factor, chosen: Mapping[int, tuple[Size, ...]]) -> Factor:
    if chosen.keys().isdisjoint(factor.classes):
        return factor
    rows = {
        row: cost
        for row, cost in factor.costs.items()
        if all(n not in chosen or s in chosen[n] for n, s in zip(factor.classes, row, strict=True))
    }
    return replace(factor, costs=rows)


def with_areas(part: Widths, found: Structure, domains: Sequence[tuple[Size, ...]]) -> Widths:
    """With the equations of Reshapes, whose coefficients are areas of settled sizes."""
    sizes, widths = found.sizes.classes(), found.widths.classes()

    def coefficient(tensor: int, places: Sequence[int]) -> int:
        return _area(domains[sizes[tensor]][0], places)

    def equation(area: Area) -> Equation:
        terms = (
            (area.made, -coefficient(area.made, area.made_at)),
            (area.given, coefficient(area.given, area.given_at)),
        )
        return Equation(_terms(_by_class(terms, widths)), found.describe(area.index))

    return replace(part, equations=(*part.equations, *map(equation, found.areas)))
