"""The structure of a segment and the demanded shapes as problems in plain integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from math import exp, fsum, log, log2

from autogo_onnx.opgraph import Shape
from autogo_onnx.shapes.domains import Bound, Join, Sizes, Transition, reach
from autogo_onnx.shapes.equations import settled, with_areas, with_sums
from autogo_onnx.shapes.problem import (
    Demand,
    Grouping,
    Infeasible,
    Port,
    Problem,
    Side,
    Widths,
)
from autogo_onnx.shapes.structure import (
    Grouped,
    Structure,
    size_of,
    width_of,
)
from autogo_onnx.shapes.wishes import Scales, targets

# Of an image or a mask: no measure of how wide a network is.
_MOST_IMAGE_CHANNELS = 4
_UNIT = 1_000_000
_TIE = 1000
_GROUPS_HALVED = 500_000
_MOST_ALTERNATIVES = 12

_Classes = tuple[int, ...]


def pose(
    found: Structure, inputs: Sequence[Shape], outputs: Sequence[Shape]
) -> Problem | Infeasible:
    """The problem of giving a segment these boundary shapes, or what already rules it out.

    Where sizes that are not settled decide how widths depend on each other (a Flatten of a map of
    7x7 or 4x4), this is the first of `alternatives`.
    """
    problems = alternatives(found, inputs, outputs)
    return problems if isinstance(problems, Infeasible) else problems[0]


def alternatives(
    found: Structure,
    inputs: Sequence[Shape],
    outputs: Sequence[Shape],
    *,
    may_leave_lattice: bool = False,
) -> list[Problem] | Infeasible:
    """The problems whose cheapest solution is the answer; most often there is one.

    Args:
        found: by `operators.read`.
        inputs, outputs: full shapes that the boundary must have.
        may_leave_lattice: chosen widths may leave the lattice, at a price.
    """
    graph, sizes = found.graph, found.sizes.classes()
    scales = _scales(found, inputs, outputs)
    sides = (
        _side(found, range(graph.n_inputs), inputs, scales.inputs),
        _side(found, graph.outputs, outputs, scales.outputs),
    )
    reached = reach(_sizes(found, sizes, *sides))
    if isinstance(reached, Infeasible):
        return reached
    ports = zip((*range(graph.n_inputs), *graph.outputs), (*inputs, *outputs), strict=True)
    also = {_width(shape, found.layout[tensor]) for tensor, shape in ports}
    part = replace(_widths(found, scales, also), may_leave=may_leave_lattice)
    if not found.areas:
        return [Problem(*reached, part, *sides)]
    divided = list(islice(settled(reached, found, sizes), _MOST_ALTERNATIVES))
    if not divided:
        names = ", ".join(found.describe(area.index) for area in found.areas)
        return Infeasible(f"{names}: no size that all of them share", cause="sizes")
    return [Problem(*each, with_areas(part, found, each[0]), *sides) for each in divided]


def _widths(found: Structure, scales: Scales, also: set[int]) -> Widths:
    """The width part, but for what depends on sizes."""
    widths = found.widths.classes()
    part = Widths(
        names=_names(found, widths),
        chosen=_chosen(found, widths),
        targets=targets(found, widths, scales),
        equations=(),
        fixed={widths[t]: 1 for t in found.one_channel},
        step=found.freedom.multiple_of,
        also=tuple(sorted(also)),
        groupings=tuple(grouping(each, widths) for each in found.groups),
    )
    return with_sums(part, found, widths)


def grouping(each: Grouped, widths: _Classes) -> Grouping:
    """A grouped convolution over classes: the mined number of groups, or a divisor of it."""
    classes = tuple(dict.fromkeys((widths[each.given], widths[each.made])))
    divisors = [n for n in range(each.mined, 0, -1) if each.mined % n == 0]
    return Grouping(
        classes, tuple((n, round(_GROUPS_HALVED * log2(each.mined / n))) for n in divisors)
    )


def _scales(found: Structure, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Scales:
    """Demanded over mined widths at both sides; where one has images, the other's is used."""
    graph = found.graph

    def mean(tensors: Sequence[int], shapes: Sequence[Shape]) -> float:
        axes = [found.layout[t] for t in tensors]
        return fsum(log(_width(s, a)) for s, a in zip(shapes, axes, strict=True)) / len(shapes)

    scales, usable = [], []
    for tensors, shapes in ((range(graph.n_inputs), inputs), (graph.outputs, outputs)):
        mined = [graph.shape(t) for t in tensors]
        scales.append(exp(mean(tensors, shapes) - mean(tensors, mined)))
        usable.append(not any(s[1] <= _MOST_IMAGE_CHANNELS for s in (*mined, *shapes)))
    if usable == [False, True]:
        scales[0] = scales[1]
    elif usable == [True, False]:
        scales[1] = scales[0]
    return Scales(*scales)


def _width(shape: Shape, axis: int | None) -> int:
    """Also of a demand that the port cannot serve, whose rank is another."""
    return shape[1] if axis is None or axis >= len(shape) else shape[axis]


def _side(found: Structure, tensors: Sequence[int], shapes: Sequence[Shape], scale: float) -> Side:
    """Ports, demands, and how far each demand is from each port's mined width.

    Of equally good assignments the one in the given order is the cheapest, and no two are equal.
    """
    sizes, widths = found.sizes.classes(), found.widths.classes()
    demands, costs = [], []
    for port, tensor in enumerate(tensors):
        mined, axis = found.graph.shape(tensor), found.layout[tensor]
        usual = found.width(tensor) * (1.0 if axis is None else scale)
        demands.append(tuple(_demand(shape, mined, axis) for shape in shapes))
        costs.append(
            tuple(
                round(_UNIT * abs(log(demand.width / usual)))
                + _TIE * (port + 1) ** 2 * (len(shapes) - 1 - number)
                if len(shape) == len(mined)
                else None
                for number, (shape, demand) in enumerate(zip(shapes, demands[-1], strict=True))
            )
        )
    ports = tuple(Port(sizes[t], widths[t]) for t in tensors)
    names = tuple(_port_name(found, port, t) for port, t in enumerate(tensors))
    return Side(ports, tuple(demands), tuple(costs), names)


def _port_name(found: Structure, port: int, tensor: int) -> str:
    maker = found.graph.producer(tensor)
    return f"input {tensor}" if maker is None else f"output {port} of {found.describe(maker)}"


def _demand(shape: Shape, mined: Shape, axis: int | None) -> Demand:
    if len(shape) != len(mined):
        return Demand(shape[2:], shape[1])
    return Demand(size_of(shape, axis), width_of(shape, axis))


def _sizes(found: Structure, sizes: _Classes, inputs: Side, outputs: Side) -> Sizes:
    graph = found.graph
    changes: list[Transition | Join] = []
    for index, op in enumerate(graph.ops):
        target, name = sizes[found.out(index)], found.describe(index)
        if index in found.options:
            options = tuple((option.cost, option.size_map) for option in found.options[index])
            changes.append(Transition(sizes[op.inputs[0]], target, options, name))
        elif index in found.relations:
            relation = found.relations[index]
            parts = tuple(sizes[t] for t in relation.parts)
            changes.append(Join(parts, target, relation.combine, name))
    single = dict.fromkeys((sizes[t], found.name(t)) for t in found.single)
    bounds = _bounds(inputs), _bounds(outputs)
    return Sizes(max(sizes) + 1, tuple(changes), *bounds, tuple(single))


def _bounds(side: Side) -> tuple[Bound, ...]:
    """Per port its size class and the sizes of the demands it may serve."""
    rows = zip(side.ports, side.demands, side.costs, side.names, strict=True)
    return tuple(
        Bound(port.size, tuple(d.size for d, cost in pairs if cost is not None), name)
        for port, demands, costs, name in rows
        if (pairs := list(zip(demands, costs, strict=True)))
    )


def _names(found: Structure, widths: _Classes) -> tuple[str, ...]:
    """Every width class by its first tensor."""
    first: dict[int, str] = {}
    for tensor, number in enumerate(widths):
        first.setdefault(number, found.name(tensor))
    return tuple(first[number] for number in range(len(first)))


def _chosen(found: Structure, widths: _Classes) -> tuple[bool, ...]:
    choosing = {widths[found.out(index)] for index in found.choosers}
    return tuple(number in choosing for number in range(max(widths) + 1))
