"""Networks in canonical order, held compactly, and the runs of operators in them.

Networks are many and their operators few. Each distinct operator, with its shapes and how far
before it its operands were made, is kept once; so is each distinct place of one, which adds its
token and how far its result is read; a network is the numbers of its places. What may begin at an
operator depends on the next few places alone, so equal windows of places are counted first and each
is looked into once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from autogo_onnx.opgraph import Attributes, Op, OpGraph, Shape
from autogo_onnx.segment_db.vocabulary import LONGEST_PIECE, Vocabulary
from autogo_onnx.serialize import tokens

# Operators in a run that counts for having one input and one output, piece or not.
LONGEST_NARROW = 8

Places = tuple[int, ...]
_Value = TypeVar("_Value")


class Numbered(Generic[_Value]):
    """Every value once, by number."""

    def __init__(self, values: Iterable[_Value] = ()) -> None:
        self.values = list(values)
        self._numbers = {value: number for number, value in enumerate(self.values)}

    def number(self, value: _Value) -> int:
        """The number of a value, which is a new one when the value is."""
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Operator(NamedTuple):
    """An operator with its shapes, and how far before it its operands were made."""

    kind: str
    attributes: Attributes
    distances: tuple[int, ...]
    operand_shapes: tuple[Shape, ...]
    shape: Shape


class Place(NamedTuple):
    """An operator where it stands in a network.

    Attributes:
        operator: number of the operator.
        token: number of its token.
        reach: how many operators further its result is read last; the longest piece also stands
            for more, and for an output of the network.
    """

    operator: int
    token: int
    reach: int


class Run(NamedTuple):
    """Consecutive operators and which of their results are read after the run."""

    operators: tuple[int, ...]
    leaving: tuple[bool, ...]


class Table:
    """What the networks of a collection are made of."""

    def __init__(self) -> None:
        self.operators: Numbered[Operator] = Numbered()
        self.tokens: Numbered[str] = Numbered()
        self.places: Numbered[Place] = Numbered()

    def read(self, graph: OpGraph) -> Places:
        """A network whose operators stand in canonical order."""
        texts = tokens(graph, range(len(graph.ops)))
        readers = graph.readers()
        outputs = set(graph.outputs)
        network = []
        for index, op in enumerate(graph.ops):
            tensor = graph.n_inputs + index
            distances = tuple(tensor - t for t in op.inputs)
            shapes = tuple(graph.shape(t) for t in op.inputs)
            operator = Operator(op.kind, op.attributes, distances, shapes, graph.op_shapes[index])
            reach = max(readers[tensor], default=index) - index
            place = Place(
                self.operators.number(operator),
                self.tokens.number(texts[index]),
                LONGEST_PIECE if tensor in outputs else min(reach, LONGEST_PIECE),
            )
            network.append(self.places.number(place))
        return tuple(network)

    def graph(self, run: Run) -> OpGraph:
        """The run as a graph of its own; inputs in the order of first use."""
        operators = [self.operators.values[number] for number in run.operators]
        inputs: dict[int, Shape] = {}
        for position, op in enumerate(operators):
            for distance, shape in zip(op.distances, op.operand_shapes, strict=True):
                if distance > position:
                    inputs.setdefault(position - distance, shape)
        number = {source: n for n, source in enumerate(inputs)}
        number.update({position: len(inputs) + position for position in range(len(operators))})
        ops = (
            Op(op.kind, tuple(number[p - distance] for distance in op.distances), op.attributes)
            for p, op in enumerate(operators)
        )
        leaving = (number[p] for p, leaves in enumerate(run.leaving) if leaves)
        shapes = tuple(op.shape for op in operators)
        return OpGraph(tuple(inputs.values()), tuple(ops), shapes, tuple(leaving))

    def text(self, network: Places) -> tuple[str, ...]:
        """The tokens of a network."""
        places, texts = self.places.values, self.tokens.values
        return tuple(texts[places[number].token] for number in network)


class Cutter:
    """Finds every run that is one operator, a piece of the vocabulary in any form, or narrow.

    Narrow is a short run with one input and one output, which fits most sites of other networks.
    Runs overlap. Not all are connected.
    """

    def __init__(self, table: Table, vocabulary: Vocabulary) -> None:
        self._table = table
        self._vocabulary = vocabulary
        self._forms = [vocabulary.forms((token,)) for token in table.tokens.values]

    def runs(self, networks: Iterable[Places]) -> Counter[Run]:
        """How often every run occurs in networks of the table."""
        windows = Counter(
            network[start : start + LONGEST_PIECE]
            for network in networks
            for start in range(len(network))
        )
        counts: Counter[Run] = Counter()
        for window, count in windows.items():
            for run in self._beginning(window):
                counts[run] += count
        return counts

    def _beginning(self, window: Places) -> Iterator[Run]:
        """The runs that begin where the window does."""
        places = [self._table.places.values[number] for number in window]
        operators = tuple(place.operator for place in places)
        forms = ["".join(f) for f in zip(*(self._forms[p.token] for p in places), strict=True)]
        sources: set[int] = set()
        for length in range(1, len(places) + 1):
            last = length - 1
            distances = self._table.operators.values[operators[last]].distances
            sources.update(last - distance for distance in distances if distance > last)
            is_piece = any(self._vocabulary.has(form[:length]) for form in forms)
            may_be_narrow = length <= LONGEST_NARROW and len(sources) == 1
            if is_piece or may_be_narrow or length == 1:
                leaving = tuple(at + places[at].reach >= length for at in range(length))
                if is_piece or sum(leaving) == 1:
                    yield Run(operators[:length], leaving)
