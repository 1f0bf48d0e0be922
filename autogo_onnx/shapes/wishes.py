"""Which widths a segment would like to have at a site: the mined ones, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from autogo_onnx.opgraph import OpGraph
from autogo_onnx.shapes.problem import Target
from autogo_onnx.shapes.structure import Structure

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


def targets(found: Structure, widths: Sequence[int], scales: Scales) -> tuple[Target, ...]:
    """Mined widths scaled to the site, weighted by what lies downstream (the paper's weights).

    An operator half way between inputs and outputs, counted in operators that choose widths, takes
    half of each boundary's scale: 16 -> 16 -> 16 becomes 64 -> 64 -> 64, and the branches of a
    concatenation at the output keep adding up.
    """
    before, after, downstream = _positions(found.graph, set(found.choosers))
    wished = []
    for index in found.choosers:
        position = before[index] / (before[index] + after[index])
        wanted = max(1, round(found.width(found.out(index)) * scales.at(position)))
        weight = round(_PER_RELATIVE_CHANGE * (1 + downstream[index]) / wanted)
        slope = _ABOVE_TIE_BREAKS * max(1, weight)
        wished.append(Target(widths[found.out(index)], wanted, slope))
    return tuple(wished)


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
