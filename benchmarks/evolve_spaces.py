"""Spaces in which evolution can be judged: whoever stays in them has a published accuracy.

What evolves is the whole network in NAS-Bench-Macro. All cells of a NAS-Bench-201 network are one
cell, so there it is the cell, and the network repeats it: a change of one of fifteen cells would
leave the space at once. Its limits are wider, too: one convolution is a quarter of a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import cost
from autogo_onnx.evolution import Limits
from autogo_onnx.opgraph import Op, OpGraph, cut, to_json
from autogo_onnx.predictor_training.labels import FAMILIES, Labels, read
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.serialize import canonical_form, canonical_hash

NASBENCH201, MACRO = nasbench201.NAME, nasbench_macro.NAME

LIMITS = {
    NASBENCH201: Limits((-0.5, 0.5), allowed=frozenset({"Add", "AveragePool", "Conv", "Relu"})),
    MACRO: Limits((-0.2, 0.1), allowed=frozenset({"Add", "Conv", "DepthwiseConv", "Relu"})),
}
"""What evolution is given; operators that no network of the space holds lead out of it."""

Form = Callable[[OpGraph], str]


@dataclass(frozen=True)
class Space:
    """The networks of a table, and which of them an evolved graph is.

    Attributes:
        labels: the networks and their accuracies.
        graphs: what evolves, per network.
        form: a text that is equal for graphs of the same network; "" for what is none.
        numbers: the network's number in the labels by its form.
    """

    labels: Labels
    graphs: Sequence[OpGraph]
    form: Form
    numbers: dict[str, int]

    def number(self, graph: OpGraph) -> int | None:
        """The number of the network that a graph is; None outside the space."""
        return self.numbers.get(self.form(graph))

    @cached_property
    def macs(self) -> NDArray[np.int64]:
        """Multiply-accumulates of what evolves, int64[N]."""
        return np.array([cost.macs(graph) for graph in self.graphs], np.int64)

    def reachable(self, base: int) -> frozenset[int]:
        """The networks within the limits for a base."""
        least, most = LIMITS[self.labels.family].macs_change
        low, high = (1 + least) * self.macs[base], (1 + most) * self.macs[base]
        return frozenset(np.flatnonzero((self.macs >= low) & (self.macs <= high)).tolist())

    def network(self, number: int) -> OpGraph:
        """A whole network, in canonical form."""
        family = FAMILIES[self.labels.family]
        return canonical_form(family.build(self.labels.codes[number]).folded())


def space(tables: Path, name: str) -> Space:
    """A space by its name, from a folder of tables.

    Raises:
        InputError: the table cannot be read.
    """
    (labels,) = read(tables, (name,))
    evolving, form = (cell_of, cell_form) if name == NASBENCH201 else (network_of, network_form)
    graphs = [evolving(code) for code in labels.codes]
    numbers = {form(graph): number for number, graph in enumerate(graphs)}
    assert len(numbers) == len(graphs), "two networks of the space have one form"
    assert "" not in numbers, "a network of the space has no form"
    return Space(labels, graphs, form, numbers)


def network_of(code: str) -> OpGraph:
    """The network of a chain of NAS-Bench-Macro, batch normalizations folded."""
    return FAMILIES[MACRO].build(code).folded()


def network_form(graph: OpGraph) -> str:
    """A digest of a whole network, shapes and attributes included."""
    return blake2b(to_json(canonical_form(graph)).encode(), digest_size=16).hexdigest()


def cell_of(code: str) -> OpGraph:
    """The first cell of a NAS-Bench-201 network, batch normalizations folded."""
    network = nasbench201.build(code, cells=1)
    place, graph = network.folded_places()[0], network.folded()
    if place:
        return cut(graph, place).graph
    shape = graph.shape(graph.n_inputs + place.start - 1)
    return OpGraph((shape,), (), (), (0,))


def cell_form(cell: OpGraph) -> str:
    """What a cell computes, however it is written; "" where no cell of the space computes it.

    Sums are flat and without order, identities vanish, what has no weights is computed once, and
    the average of a sum is the sum of the averages; see `labels.four_node_cells`.
    """
    if cell.n_inputs != 1 or len(cell.outputs) != 1:
        return ""
    try:
        sums, readings = _sums(cell)
        return _hash(cell, _known(sums.get(cell.outputs[0])), readings)
    except _OutsideError:
        return ""


class _OutsideError(Exception):
    """No cell of the space holds this."""


_Term = tuple[int, int]
"""The tensor of a convolution or of the cell's input, and how often it is averaged."""
_Sum = tuple[_Term, ...]


def _sums(cell: OpGraph) -> tuple[dict[int, _Sum], dict[int, _Sum]]:
    """What tensors are the sum of, and what every convolution reads before the rectifier."""
    sums: dict[int, _Sum] = {0: ((0, 0),)}
    rectified: dict[int, _Sum] = {}
    readings: dict[int, _Sum] = {}
    for tensor, op in enumerate(cell.ops, cell.n_inputs):
        if cell.shape(tensor) != cell.input_shapes[0]:
            raise _OutsideError
        operands = [(rectified if op.kind == "Conv" else sums).get(t) for t in op.inputs]
        if op.kind == "Relu" and op.inputs[0] in rectified:
            rectified[tensor] = rectified[op.inputs[0]]  # of what is not negative: the same
            continue
        terms = [_known(operand) for operand in operands]
        if op.kind == "Relu":
            rectified[tensor] = terms[0]
        elif op.kind == "Conv" and _published(op):
            sums[tensor], readings[tensor] = ((tensor, 0),), terms[0]
        elif op.kind == "AveragePool" and _published(op):
            sums[tensor] = tuple((source, times + 1) for source, times in terms[0])
        elif op.kind == "Add" and len(terms) == 2:
            sums[tensor] = terms[0] + terms[1]
        elif op.kind == "Identity":
            sums[tensor] = terms[0]
        else:
            raise _OutsideError
    return sums, readings


def _known(operand: _Sum | None) -> _Sum:
    if operand is None:  # a rectifier without a convolution, or a convolution without a rectifier
        raise _OutsideError
    return operand


def _published(op: Op) -> bool:
    """Whether a window keeps the size and is one of those that edges have."""
    kernel = op.get("kernel_shape")
    plain = all(n == 1 for n in (*op.get("strides", (1, 1)), *op.get("dilations", (1, 1))))
    same = op.get("pads") == (kernel[0] // 2,) * 4
    kernels = ((3, 3),) if op.kind == "AveragePool" else ((1, 1), (3, 3))
    counts_pads = op.get("count_include_pad", 0) == 1
    return kernel in kernels and plain and same and op.get("group", 1) == 1 and not counts_pads


def _hash(cell: OpGraph, output: _Sum, readings: dict[int, _Sum]) -> str:
    """Hash of the cell with sums of many operands, from its output back to its input."""
    ops: list[Op] = []
    terms: dict[_Term, int] = {(0, 0): 0}
    totals: dict[tuple[int, ...], int] = {}

    def appended(op: Op) -> int:
        ops.append(op)
        return len(ops)

    def made(source: int, times: int) -> int:
        if (source, times) not in terms:
            if times:
                op = Op.make("AveragePool", (made(source, times - 1),))
            else:
                kernel = cell.ops[source - cell.n_inputs].get("kernel_shape")
                op = Op.make("Conv", (total(readings[source]),), kernel_shape=kernel, group=1)
            terms[source, times] = appended(op)
        return terms[source, times]

    def total(summed: _Sum) -> int:
        operands = tuple(sorted(made(*term) for term in summed))
        if len(operands) == 1:
            return operands[0]
        if operands not in totals:
            totals[operands] = appended(Op.make("Sum", operands))
        return totals[operands]

    final = total(output)
    shape = cell.input_shapes[0]
    return canonical_hash(OpGraph((shape,), tuple(ops), (shape,) * len(ops), (final,)))
