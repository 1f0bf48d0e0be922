"""The structure of a segment and the demanded shapes as one problem in plain integers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, fsum, log, prod

from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.shapes.domains import Join, Sizes, Transition, reach
from autogo_onnx.shapes.problem import (
    Demand,
    Equation,
    Infeasible,
    Port,
    Problem,
    Side,
    Target,
    Widths,
)
from autogo_onnx.shapes.structure import Structure
from autogo_onnx.shapes.windows import Size

# Of an image or a mask: no measure of how wide a network is.
_MOST_IMAGE_CHANNELS = 4
_PER_RELATIVE_CHANGE = 1000
_ABOVE_TIE_BREAKS = 1000


@dataclass(frozen=True)
class Scales:
    """Demanded over mined widths at the inputs and at the outputs, blind to the assignment."""

    inputs: float
    outputs: float

    def at(self, position: float) -> float:
        """The scale between the inputs (0) and the outputs (1)."""
        return exp((1 - position) * log(self.inputs) + position * log(self.outputs))


def pose(
    found: Structure, inputs: Sequence[Shape], outputs: Sequence[Shape]
) -> Problem | Infeasible:
    """The problem of giving a segment these boundary shapes, or what already rules it out."""
    graph, sizes, widths = found.graph, found.sizes.classes(), found.widths.classes()
    scales = _scales(graph, inputs, outputs)
    sides = (
        _side(graph, range(graph.n_inputs), inputs, scales.inputs, (sizes, widths)),
        _side(graph, graph.outputs, outputs, scales.outputs, (sizes, widths)),
    )
    reached = reach(_sizes(found, sizes, *sides))
    if isinstance(reached, Infeasible):
        return reached
    domains, factors = reached
    equations = [_equation(terms, widths, found.describe(index)) for terms, index in found.sums]
    for given, made in found.areas:
        areas = {prod(size) for size in domains[sizes[given]]}
        name = found.describe(made - graph.n_inputs)
        if len(areas) > 1:
            return Infeasible(f"{name} of a map whose size is not settled")
        equations.append(_equation(((made, -1), (given, areas.pop())), widths, name))
    also = tuple(sorted({shape[1] for shape in (*inputs, *outputs)}))
    part = Widths(
        names=_names(found, widths),
        chosen=_chosen(found, widths),
        targets=_targets(found, widths, scales),
        equations=tuple(equations),
        fixed={widths[t]: 1 for t in found.one_channel},
        step=found.freedom.multiple_of,
        also=also,
    )
    return Problem(domains, factors, part, *sides)


def _scales(graph: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Scales:
    def mean(shapes: Sequence[Shape]) -> float:
        return fsum(log(shape[1]) for shape in shapes) / len(shapes)

    def has_image(shapes: Sequence[Shape]) -> bool:
        return any(shape[1] <= _MOST_IMAGE_CHANNELS for shape in shapes)

    pairs = ((graph.input_shapes, inputs), (graph.output_shapes, outputs))
    scales = [exp(mean(wanted) - mean(mined)) for mined, wanted in pairs]
    usable = [not has_image((*mined, *wanted)) for mined, wanted in pairs]
    if usable == [False, True]:
        scales[0] = scales[1]
    elif usable == [True, False]:
        scales[1] = scales[0]
    return Scales(*scales)


def _side(
    graph: OpGraph,
    tensors: Sequence[int],
    shapes: Sequence[Shape],
    scale: float,
    classes: tuple[tuple[int, ...], tuple[int, ...]],
) -> Side:
    """Ports, demands, and how far each demand is from each port's mined width.

    Of equally good assignments the one in the given order is the cheapest, and no two are equal.
    """
    sizes, widths = classes
    demands = tuple(Demand(shape[2:], shape[1]) for shape in shapes)
    costs = []
    for port, tensor in enumerate(tensors):
        mined = graph.shape(tensor)
        unit = _PER_RELATIVE_CHANGE * _ABOVE_TIE_BREAKS
        costs.append(
            tuple(
                round(unit * abs(log(shape[1] / (mined[1] * scale))))
                + _ABOVE_TIE_BREAKS * (port + 1) ** 2 * (len(shapes) - 1 - number)
                if len(shape) == len(mined)
                else None
                for number, shape in enumerate(shapes)
            )
        )
    return Side(tuple(Port(sizes[t], widths[t]) for t in tensors), demands, tuple(costs))


def _sizes(found: Structure, sizes: tuple[int, ...], inputs: Side, outputs: Side) -> Sizes:
    graph = found.graph
    changes: list[Transition | Join] = []
    for index, op in enumerate(graph.ops):
        target, name = sizes[graph.n_inputs + index], found.describe(index)
        if index in found.options:
            options = tuple((option.cost, option.size_map) for option in found.options[index])
            changes.append(Transition(sizes[op.inputs[0]], target, options, name))
        elif index in found.joins:
            parts = tuple(sizes[t] for t in op.inputs)
            changes.append(Join(parts, target, found.joins[index], name))
    single = frozenset(sizes[t] for t in found.single)
    return Sizes(max(sizes) + 1, tuple(changes), _offers(inputs), _offers(outputs), single)


def _offers(side: Side) -> tuple[tuple[int, tuple[Size, ...]], ...]:
    """Per port its size class and the sizes of the demands it may serve."""
    return tuple(
        (port.size, tuple(d.size for d, c in zip(side.demands, row, strict=True) if c is not None))
        for port, row in zip(side.ports, side.costs, strict=True)
    )


def _equation(terms: Iterable[tuple[int, int]], widths: tuple[int, ...], name: str) -> Equation:
    """Terms by tensor as terms by class; a class that stands twice is counted twice."""
    total: dict[int, int] = {}
    for tensor, coefficient in terms:
        number = widths[tensor]
        total[number] = total.get(number, 0) + coefficient
    return Equation(tuple((n, c) for n, c in total.items() if c), name)


def _names(found: Structure, widths: tuple[int, ...]) -> tuple[str, ...]:
    """Every width class by its first tensor."""
    n_inputs = found.graph.n_inputs
    first: dict[int, str] = {}
    for tensor, number in enumerate(widths):
        is_input = tensor < n_inputs
        first.setdefault(
            number, f"input {tensor}" if is_input else found.describe(tensor - n_inputs)
        )
    return tuple(first[number] for number in range(len(first)))


def _chosen(found: Structure, widths: tuple[int, ...]) -> tuple[bool, ...]:
    choosing = {widths[found.graph.n_inputs + index] for index in found.choosers}
    return tuple(number in choosing for number in range(max(widths) + 1))


def _targets(found: Structure, widths: tuple[int, ...], scales: Scales) -> tuple[Target, ...]:
    """Mined widths scaled to the site, weighted by what lies downstream (the paper's weights).

    An operator half way between inputs and outputs, counted in operators that choose widths, takes
    half of each boundary's scale: 16 -> 16 -> 16 becomes 64 -> 64 -> 64, and the branches of a
    concatenation at the output keep adding up.
    """
    graph = found.graph
    before, after, downstream = _positions(graph, set(found.choosers))
    targets = []
    for index in found.choosers:
        position = before[index] / (before[index] + after[index])
        wanted = max(1, round(graph.op_shapes[index][1] * scales.at(position)))
        weight = round(_PER_RELATIVE_CHANGE * (1 + downstream[index]) / wanted)
        slope = _ABOVE_TIE_BREAKS * max(1, weight)
        targets.append(Target(widths[graph.n_inputs + index], wanted, slope))
    return tuple(targets)


def _positions(graph: OpGraph, choosers: set[int]) -> tuple[list[int], list[int], list[int]]:
    """Where every operator stands.

    Returns:
        Per operator: choosers on the longest way up to it (itself included), choosers on the
        longest way from it, and the number of operators downstream.
    """
    count, readers = len(graph.ops), graph.readers()
    before, after, reached = [0] * count, [0] * count, [0] * count
    for index, op in enumerate(graph.ops):
        makers = [p for t in op.inputs if (p := graph.producer(t)) is not None]
        before[index] = max((before[p] for p in makers), default=0) + (index in choosers)
    for index in reversed(range(count)):
        for reader in readers[graph.n_inputs + index]:
            after[index] = max(after[index], after[reader] + (reader in choosers))
            reached[index] |= reached[reader] | 1 << reader
    return before, after, [mask.bit_count() for mask in reached]
