"""What the operators of a segment say about sizes and widths, by tensor numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd

from autogo_onnx.opgraph import AttributeValue, OpGraph, Shape
from autogo_onnx.shapes.domains import Combine, SizeMap
from autogo_onnx.shapes.windows import Size

Attributes = Mapping[str, AttributeValue]
Layout = tuple[int | None, ...]

_PER_PLACE = 50


class Unknown(Exception):
    """An operator that the reader cannot describe; the message is the reason."""


@dataclass(frozen=True)
class Option:
    """One way to write an operator: its price, the size it gives, the attributes that say so.

    Attributes:
        attributes: to be written; those not named stay as they are.
        is_whole_map: a pool whose kernel is the whole map, whatever the map's size.
    """

    cost: int
    size_map: SizeMap
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    is_whole_map: bool = False


@dataclass(frozen=True)
class Freedom:
    """What may change.

    Attributes:
        multiple_of: the lattice of freely chosen widths.
        strides: allowed beside the mined ones.
        each_axis: whether axes may take different strides.
        last_resort: whether windows may drop their pads, which loses the border, and Reshapes may
            split channels into fewer groups.
    """

    multiple_of: int = 8
    strides: tuple[int, ...] = (1, 2)
    each_axis: bool = False
    last_resort: bool = False


@dataclass(frozen=True)
class Relation:
    """Tensors whose sizes together make the size of the operator's output."""

    parts: tuple[int, ...]
    combine: Combine


@dataclass(frozen=True)
class Sum:
    """`sum(coefficient * width of tensor) + constant == 0`; a `Slice` may also leave some over.

    Attributes:
        leaves_rest: whether one more, positive unknown is subtracted.
    """

    index: int
    terms: tuple[tuple[int, int], ...]
    constant: int = 0
    leaves_rest: bool = False


@dataclass(frozen=True)
class Area:
    """`width of made * its sizes at made_at == width of given * its sizes at given_at`."""

    index: int
    given: int
    given_at: tuple[int, ...]
    made: int
    made_at: tuple[int, ...]


@dataclass(frozen=True)
class Grouped:
    """A convolution whose groups must divide the widths of both tensors."""

    index: int
    given: int
    made: int
    mined: int


class Merged:
    """Union-find over tensor numbers; classes are numbered by their first tensor."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))
        self._classes: tuple[int, ...] | None = None

    def find(self, item: int) -> int:
        """The smallest number merged with `item`."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def merge(self, items: Sequence[int]) -> None:
        """Make all items one class."""
        roots = sorted({self.find(item) for item in items})
        for root in roots[1:]:
            self._parent[root] = roots[0]
        self._classes = None

    def classes(self) -> tuple[int, ...]:
        """The class of every tensor, numbered from 0 in order of first appearance."""
        if self._classes is None:
            roots = [self.find(item) for item in range(len(self._parent))]
            number = {root: n for n, root in enumerate(dict.fromkeys(roots))}
            self._classes = tuple(number[root] for root in roots)
        return self._classes


@dataclass
class Structure:
    """What the operators of a segment say, by tensor numbers; `read` fills it.

    Attributes:
        layout: the axis of every tensor that holds its channels; None where no axis does.
        sizes, widths: tensors merged into classes.
        options: for operators that change the size, how they may be written.
        relations: for operators whose output's size depends on several tensors.
        choosers: operators that choose their output's width.
        sums, areas, groups: what holds between widths.
        single: tensors of size 1 along every axis (the small side of a broadcast).
        one_channel: tensors whose width is 1 by structure.
        ones: places at which a tensor is 1 because of a reduction, whatever the site's size.
        rewrites: for operators whose attributes depend on widths: from the shapes of input and
            output to attributes.
    """

    graph: OpGraph
    freedom: Freedom
    layout: Layout
    sizes: Merged
    widths: Merged
    options: dict[int, tuple[Option, ...]] = field(default_factory=dict)
    relations: dict[int, Relation] = field(default_factory=dict)
    choosers: list[int] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)
    areas: list[Area] = field(default_factory=list)
    groups: list[Grouped] = field(default_factory=list)
    single: list[int] = field(default_factory=list)
    one_channel: list[int] = field(default_factory=list)
    ones: dict[int, frozenset[int]] = field(default_factory=dict)
    rewrites: dict[int, Callable[[Shape, Shape], Attributes]] = field(default_factory=dict)

    def describe(self, index: int) -> str:
        """How a reason names an operator."""
        return f"{self.graph.ops[index].kind} (operator {index})"

    def name(self, tensor: int) -> str:
        """How a reason names a tensor."""
        n_inputs = self.graph.n_inputs
        return f"input {tensor}" if tensor < n_inputs else self.describe(tensor - n_inputs)

    def out(self, index: int) -> int:
        """The tensor that an operator makes."""
        return self.graph.n_inputs + index

    def size(self, tensor: int) -> Size:
        """The mined size of a tensor."""
        return size_of(self.graph.shape(tensor), self.layout[tensor])

    def width(self, tensor: int) -> int:
        """The mined width of a tensor."""
        return width_of(self.graph.shape(tensor), self.layout[tensor])

    def is_pooled(self, tensor: int) -> bool:
        """Whether a tensor is 1 along all axes, whatever the site's size."""
        return len(self.ones.get(tensor, ())) == len(self.size(tensor)) > 0

    def place(self, tensor: int, axis: int) -> int:
        """Where an axis that is neither batch nor channels stands in the tensor's size."""
        channels = self.layout[tensor]
        return axis - 1 if channels is None or axis < channels else axis - 2

    def scale_width(self, index: int, tensor: int, times: int, over: int) -> None:
        """Width of the output = width of the tensor * times / over."""
        if times == over:
            self.widths.merge((tensor, self.out(index)))
        else:
            common = gcd(times, over)
            terms = ((self.out(index), -over // common), (tensor, times // common))
            self.sums.append(Sum(index, terms))


def place_price(index: int, amounts: Size) -> int:
    """Tie-break between equal changes of operators, in the unit of `problem.py`.

    The earlier operator is the cheaper one (a map that shrinks early saves MACs), smaller amounts
    are, and amounts along the first axes: strides 2 then 3 and 3 then 2 are no tie.
    """
    weighted = sum((axis + 1) * amount for axis, amount in enumerate(amounts))
    return _PER_PLACE * index * (index + 1) + (index + 1) * weighted


def size_of(shape: Shape, channels: int | None) -> Size:
    """A shape without batch and channels.

    >>> size_of((1, 64, 14, 7), 1), size_of((1, 197, 192), 2), size_of((1, 3, 49, 49), None)
    ((14, 7), (197,), (3, 49, 49))
    """
    return shape[1:] if channels is None else shape[1:channels] + shape[channels + 1 :]


def width_of(shape: Shape, channels: int | None) -> int:
    """The number of channels; 1 where no axis holds them."""
    return 1 if channels is None else shape[channels]


def shape_of(batch: int, width: int, size: Size, channels: int | None) -> Shape:
    """The full shape of a size and a width.

    >>> shape_of(1, 192, (197,), 2)
    (1, 197, 192)
    """
    if channels is None:
        return (batch, *size)
    return (batch, *size[: channels - 1], width, *size[channels - 1 :])
