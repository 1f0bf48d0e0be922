"""What the operators of a segment say about sizes and widths, by tensor numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from autogo_onnx.opgraph import OpGraph
from autogo_onnx.shapes.domains import SizeMap
from autogo_onnx.shapes.windows import Window


@dataclass(frozen=True)
class Option:
    """One way to write an operator: its price, the size it gives, the attributes that say so.

    Attributes:
        window: the strides and pads to be written; None leaves the operator as it is.
        is_whole_map: a pool whose kernel is the whole map, whatever the map's size.
    """

    cost: int
    size_map: SizeMap
    window: Window | None = None
    is_whole_map: bool = False


@dataclass(frozen=True)
class Freedom:
    """What may change.

    Attributes:
        multiple_of: the lattice of freely chosen widths.
        strides: allowed beside the mined ones.
        each_axis: whether axes may take different strides.
        unpadded: whether windows may drop their pads.
    """

    multiple_of: int = 8
    strides: tuple[int, ...] = (1, 2)
    each_axis: bool = False
    unpadded: bool = False


class Merged:
    """Union-find over tensor numbers; classes are numbered by their first tensor."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

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

    def classes(self) -> tuple[int, ...]:
        """The class of every tensor, numbered from 0 in order of first appearance."""
        roots = [self.find(item) for item in range(len(self._parent))]
        number = {root: n for n, root in enumerate(dict.fromkeys(roots))}
        return tuple(number[root] for root in roots)


@dataclass
class Structure:
    """What the operators of a segment say, by tensor numbers; `read` fills it.

    Attributes:
        sizes, widths: tensors merged into classes.
        options: for operators that change the size, how they may be written.
        joins: Concat along a spatial axis: operator -> spatial axis.
        choosers: operators that choose their output's width.
        sums: (terms, operator): sum of coefficient * width of tensor is 0.
        areas: Flatten: (tensor in, tensor out).
        single: tensors of size 1 along every axis (the small side of a broadcast).
        one_channel: tensors whose width is 1 by structure.
        pooled: tensors of size 1 because a global pool came before, whatever the site's size.
    """

    graph: OpGraph
    freedom: Freedom
    sizes: Merged
    widths: Merged
    options: dict[int, tuple[Option, ...]] = field(default_factory=dict)
    joins: dict[int, int] = field(default_factory=dict)
    choosers: list[int] = field(default_factory=list)
    sums: list[tuple[tuple[tuple[int, int], ...], int]] = field(default_factory=list)
    areas: list[tuple[int, int]] = field(default_factory=list)
    single: list[int] = field(default_factory=list)
    one_channel: list[int] = field(default_factory=list)
    pooled: set[int] = field(default_factory=set)

    def describe(self, index: int) -> str:
        """How a reason names an operator."""
        return f"{self.graph.ops[index].kind} (operator {index})"
