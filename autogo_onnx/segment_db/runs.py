"""Networks in canonical order, held compactly, and the runs of operators in them.

Networks of a family are many and their operators few: each distinct operator, with its shapes and
how far before it its operands were made, is kept once and networks are tuples of numbers. A run is
a slice of such a tuple, so that equal runs are found by looking up a tuple.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from autogo_onnx.opgraph import AttributeValue, Op, OpGraph, Shape
from autogo_onnx.segment_db.vocabulary import LONGEST_PIECE, Vocabulary
from autogo_onnx.serialize import tokens

# Operators in a run that counts for having one input and one output, piece or not.
LONGEST_NARROW = 8


class Placed(NamedTuple):
    """An operator and how far before it its operands were made."""

    kind: str
    attributes: tuple[tuple[str, AttributeValue], ...]
    distances: tuple[int, ...]
    operand_shapes: tuple[Shape, ...]
    shape: Shape


class Network(NamedTuple):
    """A network in canonical order.

    Attributes:
        operators: numbers of placed operators in the table.
        sources: for every operator, where its operands were made; negative for inputs.
        last_use: for every operator, the position of the last one that reads it, or the length of
            the network when it is an output.
    """

    family: str
    tokens: tuple[str, ...]
    operators: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]
    last_use: tuple[int, ...]


class Run(NamedTuple):
    """Consecutive operators and which of their results are read after the run."""

    operators: tuple[int, ...]
    leaving: tuple[bool, ...]


class Table:
    """Every placed operator once, by number: networks are many, their operators few."""

    def __init__(self) -> None:
        self._numbers: dict[Placed, int] = {}
        self._texts: dict[str, str] = {}
        self.operators: list[Placed] = []

    def read(self, family: str, graph: OpGraph) -> Network:
        """A network whose operators stand in canonical order."""
        numbers = []
        sources = tuple(tuple(t - graph.n_inputs for t in op.inputs) for op in graph.ops)
        for index, op in enumerate(graph.ops):
            tensor = graph.n_inputs + index
            distances = tuple(tensor - t for t in op.inputs)
            shapes = tuple(graph.shape(t) for t in op.inputs)
            placed = Placed(op.kind, op.attributes, distances, shapes, graph.op_shapes[index])
            numbers.append(self._number(placed))
        last = [max(r, default=-1) for r in graph.readers()[graph.n_inputs :]]
        for output in graph.outputs:
            if output >= graph.n_inputs:
                last[output - graph.n_inputs] = len(graph.ops)
        texts = tuple(self._texts.setdefault(t, t) for t in tokens(graph, range(len(graph.ops))))
        return Network(family, texts, tuple(numbers), sources, tuple(last))

    def graph(self, run: Run) -> OpGraph:
        """The run as a graph of its own; inputs in the order of first use."""
        placed = [self.operators[number] for number in run.operators]
        inputs: dict[int, Shape] = {}
        for position, op in enumerate(placed):
            for distance, shape in zip(op.distances, op.operand_shapes, strict=True):
                if distance > position:
                    inputs.setdefault(position - distance, shape)
        number = {source: n for n, source in enumerate(inputs)}
        number.update({position: len(inputs) + position for position in range(len(placed))})
        ops = (
            Op(op.kind, tuple(number[p - distance] for distance in op.distances), op.attributes)
            for p, op in enumerate(placed)
        )
        leaving = (number[p] for p, leaves in enumerate(run.leaving) if leaves)
        shapes = tuple(op.shape for op in placed)
        return OpGraph(tuple(inputs.values()), tuple(ops), shapes, tuple(leaving))

    def _number(self, placed: Placed) -> int:
        number = self._numbers.setdefault(placed, len(self.operators))
        if number == len(self.operators):
            self.operators.append(placed)
        return number


def runs(network: Network, vocabulary: Vocabulary) -> Iterator[Run]:
    """Every run that is one operator, a piece of the vocabulary in any form, or narrow.

    Narrow is a short run with one input and one output, which fits most sites of other networks.
    Runs overlap. Not all are connected.
    """
    forms = vocabulary.forms(network.tokens)
    size = len(network.tokens)
    for start in range(size):
        entries: set[int] = set()
        for stop in range(start + 1, min(start + LONGEST_PIECE, size) + 1):
            entries.update(source for source in network.sources[stop - 1] if source < start)
            may_be_narrow = stop - start <= LONGEST_NARROW and len(entries) == 1
            is_piece = any(vocabulary.has(form[start:stop]) for form in forms)
            if is_piece or may_be_narrow or stop == start + 1:
                leaving = tuple(last >= stop for last in network.last_use[start:stop])
                if is_piece or sum(leaving) == 1:
                    yield Run(network.operators[start:stop], leaving)
