"""Self variants: cheaper forms of a segment, as weight-free graphs with its boundary shapes.

`variants` lists what has a closed-form fit; `self_variants` goes through every idea for any
segment. Which of them pay on ONNX Runtime is measured later, never assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autogo_onnx.cost import macs
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.variants.closed import closed_forms
from autogo_onnx.variants.forms import (
    Named,
    Widths,
    chain,
    conv,
    fine_widths,
    named,
    rounded_widths,
)
from autogo_onnx.variants.ideas import IDEAS
from autogo_onnx.variants.surgery import living

__all__ = [
    "WORTHWHILE",
    "Variant",
    "Widths",
    "chain",
    "conv",
    "fine_widths",
    "rounded_widths",
    "self_variants",
    "variants",
]

WORTHWHILE = 0.9


@dataclass(frozen=True)
class Variant:
    """A candidate graph, the name of the idea behind it, and its multiply-accumulates."""

    name: str
    graph: OpGraph
    macs: int


def variants(segment: OpGraph, widths: Widths = rounded_widths) -> tuple[Variant, ...]:
    """Every cheaper form of a segment with one input and one output, without duplicates.

    Covers a single convolution and convolution - activation - convolution. Each variant has the
    segment's own boundary shapes and at most `WORTHWHILE` of its multiply-accumulates.

    Args:
        segment: any.
        widths: of ranks, and between two convolutions. On ONNX Runtime only multiples of its
            blocks of channels pay; where something is counted, all do.
    """
    return tuple(_sound(segment, closed_forms(segment, widths), WORTHWHILE))


def self_variants(segment: OpGraph, at_most: float = 1.0) -> Iterator[Variant]:
    """Cheaper forms of any segment whose shapes can be reasoned about, one after the other.

    First the closed forms, if it has any. Then the ideas in turns (narrower inside, a branch
    dropped, smaller kernels, low rank, depthwise separable, grouped, row and column, two
    convolutions as one), so that the first few are of many kinds; each goes from all operators at
    once to one at a time, in order. There are at most 25 per operand of an operator, and 75 closed
    forms. No two are equal graphs; which of two equal branches was changed makes a difference,
    since weights tell the branches apart.

    Args:
        segment: with any number of inputs and outputs.
        at_most: share of its multiply-accumulates that a variant may have. A variant that has as
            many as the segment has fewer operators.

    Yields:
        Variants with the segment's own boundary shapes, every input read, every output made.

    >>> pair = chain((1, 8, 4, 4), [(conv((1, 1)), 32), (conv((3, 3), pads=(1,) * 4), 8)])
    >>> first = next(self_variants(pair))
    >>> first.name, first.graph.op_shapes[0], first.macs / macs(pair)
    ('narrower', (1, 24, 4, 4), 0.75)
    """
    yield from _sound(segment, _all_forms(segment), at_most)


def _all_forms(segment: OpGraph) -> Iterator[Named]:
    yield from closed_forms(segment)
    needed = living(segment)
    yield from _in_turns([named(name, idea(needed)) for name, idea in IDEAS])


def _in_turns(iterators: Sequence[Iterator[Named]]) -> Iterator[Named]:
    """One of each, again and again, until all are exhausted."""
    waiting = list(iterators)
    while waiting:
        left = []
        for iterator in waiting:
            found = next(iterator, None)
            if found is not None:
                left.append(iterator)
                yield found
        waiting = left


def _sound(segment: OpGraph, forms: Iterator[Named], at_most: float) -> Iterator[Variant]:
    """Those that keep the boundary and are cheaper, each graph once, by its first name."""
    whole, seen = macs(segment), {segment}
    for name, graph in forms:
        if graph in seen or not _keeps_boundary(segment, graph):
            continue
        seen.add(graph)
        cost = macs(graph)
        is_cheaper = cost < whole or (cost == whole and len(graph.ops) < len(segment.ops))
        if is_cheaper and cost <= at_most * whole:
            yield Variant(name, graph, cost)


def _keeps_boundary(segment: OpGraph, graph: OpGraph) -> bool:
    """Whether the shapes are the segment's, all inputs are still read and all outputs made."""
    read = {t for op in graph.ops for t in op.inputs}
    unread = set(range(graph.n_inputs)) - read
    return (
        (graph.input_shapes, graph.output_shapes) == (segment.input_shapes, segment.output_shapes)
        and len(set(graph.outputs)) == len(set(segment.outputs))
        and all(made >= graph.n_inputs or made in segment.outputs for made in graph.outputs)
        and all(not segment.readers()[t] for t in unread)
    )
