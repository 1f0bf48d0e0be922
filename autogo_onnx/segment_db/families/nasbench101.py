"""NAS-Bench-101 (Ying et al., ICML 2019): the 423,624 cells of at most 7 vertices and 9 edges.

Rules after github.com/google-research/nasbench, nasbench/lib/{model_builder,base_ops,model_spec}.
Parameters, as published, and MACs equal those of the tables.

A code is the upper triangle of the adjacency matrix row by row, and the operations of the interior
vertices in order: `110101:conv3x3-maxpool3x3` has the edges 0-1, 0-2, 1-2 and 2-3. Which code
stands for a cell matters: where the width does not divide evenly, the first vertices that feed the
output are one channel wider. `nasbench101_cells` lists one code per cell.

- Every vertex adds what it reads as a chain of two-operand additions, the cell's input last.
- A vertex reads all but the last channel of one that is a channel wider. The slice ends at -1, not
  at a number of channels, so that it is the same operator at every width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.family import Family, sampled
from autogo_onnx.segment_db.families.nasbench101_cells import (
    MOST_EDGES,
    MOST_VERTICES,
    OPERATIONS,
    distinct,
)
from autogo_onnx.segment_db.families.network import Network

NAME = "nasbench101"
_KERNEL = {"conv3x3": 3, "conv1x1": 1}
_STEM_WIDTH = 128
_STACKS = 3
_MODULES = 3


@dataclass(frozen=True)
class Cell:
    """A module: vertex 0 is its input, the last its output.

    Attributes:
        edges: (begin, end) with begin < end, ascending.
        operations: one per interior vertex, from vertex 1 on.
    """

    edges: tuple[tuple[int, int], ...]
    operations: tuple[str, ...]

    @property
    def output(self) -> int:
        """The last vertex."""
        return len(self.operations) + 1

    def before(self, vertex: int) -> tuple[int, ...]:
        """Vertices that a vertex reads, ascending."""
        return tuple(begin for begin, end in self.edges if end == vertex)

    def after(self, vertex: int) -> tuple[int, ...]:
        """Vertices that read a vertex, ascending."""
        return tuple(end for begin, end in self.edges if begin == vertex)

    def widths(self, width: int) -> dict[int, int]:
        """Channels of every interior vertex of a module that is `width` channels wide.

        >>> parse("1110001011:conv3x3-conv1x1-maxpool3x3").widths(128)
        {1: 43, 2: 43, 3: 42}
        """
        feeding = [v for v in self.before(self.output) if v]
        share, remainder = divmod(width, len(feeding)) if feeding else (0, 0)
        found = {v: share + (n < remainder) for n, v in enumerate(feeding)}
        for vertex in reversed(range(1, self.output)):
            if vertex not in found:
                found[vertex] = max(found[reader] for reader in self.after(vertex))
        return found


def parse(code: str) -> Cell:
    """The cell of a code.

    Raises:
        InputError: the text is not a code, the cell is too large, or one of its vertices lies on
            no path from its input to its output (published cells have none).
    """
    bits, _, names = code.partition(":")
    operations = tuple(names.split("-")) if names else ()
    pairs = list(combinations(range(len(operations) + 2), 2))
    if len(bits) != len(pairs) or set(bits) - set("01") or set(operations) - set(OPERATIONS):
        raise InputError(f"NAS-Bench-101 cell {code!r} does not read BITS:OPERATION-OPERATION-...")
    edges = tuple(pair for pair, bit in zip(pairs, bits, strict=True) if bit == "1")
    cell = Cell(edges, operations)
    if cell.output >= MOST_VERTICES or len(edges) > MOST_EDGES:
        raise InputError(
            f"NAS-Bench-101 cell {code!r} has {cell.output + 1} vertices and {len(edges)} edges;"
            f" {MOST_VERTICES} and {MOST_EDGES} are the most"
        )
    for vertex in range(cell.output + 1):
        if (vertex and not cell.before(vertex)) or (
            vertex < cell.output and not cell.after(vertex)
        ):
            raise InputError(
                f"NAS-Bench-101 cell {code!r}: vertex {vertex} is on no path from input to output"
            )
    return cell


def build(code: str) -> Network:
    """The network of a cell: stem, three stacks of three modules, classifier.

    Input `[1,3,32,32]`, output `[1,10]`.

    Raises:
        InputError: `code` is no code of the family.

    >>> build("1:").parameters()
    882570
    """
    cell = parse(code)
    net = Builder((1, 3, 32, 32))
    x = _conv_bn_relu(net, 0, _STEM_WIDTH, 3)
    for stack in range(_STACKS):
        if stack:
            x = net.pool("MaxPool", x, kernel=2, stride=2)
        for _ in range(_MODULES):
            with net.place():
                x = _module(net, x, cell, _STEM_WIDTH << stack)
    return net.network(net.classifier(x, 10))


def _module(net: Builder, x: int, cell: Cell, width: int) -> int:
    widths = cell.widths(width)
    made: dict[int, int] = {}
    for vertex, operation in enumerate(cell.operations, 1):
        terms = [_narrowed(net, made[v], widths[vertex]) for v in cell.before(vertex) if v]
        if 0 in cell.before(vertex):
            terms.append(_conv_bn_relu(net, x, widths[vertex], 1))
        total = net.add(*terms)
        if operation in _KERNEL:
            made[vertex] = _conv_bn_relu(net, total, widths[vertex], _KERNEL[operation])
        else:
            made[vertex] = net.pool("MaxPool", total, kernel=3)
    feeding = [made[v] for v in cell.before(cell.output) if v]
    terms = [net.concat(*feeding)] if feeding else []
    if 0 in cell.before(cell.output):
        terms.append(_conv_bn_relu(net, x, width, 1))
    return net.add(*terms)


def _narrowed(net: Builder, x: int, width: int) -> int:
    if net.channels(x) == width:
        return x
    assert net.channels(x) == width + 1, "widths differ by one remainder channel at most"
    batch, _, *space = net.shape(x)
    return net.op("Slice", (x,), (batch, width, *space), axes=(1,), starts=(0,), ends=(-1,))


def _conv_bn_relu(net: Builder, x: int, width: int, kernel: int) -> int:
    return net.relu(net.conv_bn(x, width, kernel=kernel))


FAMILY = Family(
    NAME,
    build,
    lambda count, seed: sampled(distinct(), count, seed),
    "Ying et al., ICML 2019, arXiv:1902.09635; github.com/google-research/nasbench",
)
