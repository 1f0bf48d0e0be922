"""Graphs that are hard to tell apart, and the same graphs numbered otherwise."""

import random
from collections.abc import Iterable
from dataclasses import replace

from autogo_onnx.operator_labels import COMMUTATIVE
from autogo_onnx.opgraph import Op, OpGraph, Shape

SHAPE = (1, 8, 4, 4)


def shuffled(graph: OpGraph, seed: int) -> OpGraph:
    """The same graph with inputs, operators, outputs and commuting operands in another order."""
    draw = random.Random(seed)
    inputs = draw.sample(range(graph.n_inputs), graph.n_inputs)
    number = {t: n for n, t in enumerate(inputs)}
    ops: list[Op] = []
    shapes: list[Shape] = []
    readers = graph.readers()
    missing = [len(set(op.inputs)) for op in graph.ops]
    ready = [index for index, count in enumerate(missing) if not count]

    def written(tensor: int) -> None:
        for reader in readers[tensor]:
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)

    for tensor in inputs:
        written(tensor)
    while ready:
        index = ready.pop(draw.randrange(len(ready)))
        op = graph.ops[index]
        operands = [number[t] for t in op.inputs]
        if op.kind in COMMUTATIVE:
            draw.shuffle(operands)
        number[graph.n_inputs + index] = graph.n_inputs + len(ops)
        ops.append(replace(op, inputs=tuple(operands)))
        shapes.append(graph.op_shapes[index])
        written(graph.n_inputs + index)
    outputs = draw.sample([number[t] for t in graph.outputs], len(graph.outputs))
    return OpGraph(
        tuple(graph.input_shapes[t] for t in inputs), tuple(ops), tuple(shapes), tuple(outputs)
    )


def pairs(size: int, edges: Iterable[tuple[int, int]], kind: str = "Add") -> OpGraph:
    """Vertices as equal operators on one input, edges as operators on two of them, which leave."""
    ops = [Op("Relu", (0,))] * size
    ops += [Op(kind, (1 + one, 1 + other)) for one, other in edges]
    leaving = tuple(range(1 + size, 1 + len(ops)))
    return OpGraph((SHAPE,), tuple(ops), (SHAPE,) * len(ops), leaving)


def rings(*lengths: int, kind: str = "Add") -> OpGraph:
    """Pairs of neighbours in rings: alike to every local refinement if the lengths add up."""
    edges, first = [], 0
    for length in lengths:
        edges += [(first + k, first + (k + 1) % length) for k in range(length)]
        first += length
    return pairs(first, edges, kind)


def rook() -> OpGraph:
    """Fields of a 4x4 board, joined in rows and columns: strongly regular (16, 6, 2, 2)."""
    fields = [(row, column) for row in range(4) for column in range(4)]
    return pairs(
        16,
        [
            (n, m)
            for n, (row, column) in enumerate(fields)
            for m, (other, another) in enumerate(fields[:n])
            if (row == other) != (column == another)
        ],
    )


def shrikhande() -> OpGraph:
    """The other strongly regular graph of these parameters: a 4x4 torus with one diagonal."""
    steps = ((0, 1), (1, 0), (1, 1))
    return pairs(
        16,
        [
            (4 * row + column, 4 * ((row + down) % 4) + (column + right) % 4)
            for row in range(4)
            for column in range(4)
            for down, right in steps
        ],
    )


def complete(size: int) -> OpGraph:
    """All pairs."""
    return pairs(size, [(n, m) for n in range(size) for m in range(n)])


def layers(depth: int, width: int) -> OpGraph:
    """Sums of everything in the layer before."""
    ops: list[Op] = []
    before: tuple[int, ...] = (0,)
    for _ in range(depth):
        first = 1 + len(ops)
        ops += [Op("Sum", before)] * width
        before = tuple(range(first, first + width))
    return OpGraph((SHAPE,), tuple(ops), (SHAPE,) * len(ops), before)


def branches(count: int, length: int) -> OpGraph:
    """Equal chains beside one another, added together."""
    ops: list[Op] = []
    ends = []
    for _ in range(count):
        tensor = 0
        for _ in range(length):
            ops.append(Op("Relu", (tensor,)))
            tensor = len(ops)
        ends.append(tensor)
    ops.append(Op("Sum", tuple(ends)))
    return OpGraph((SHAPE,), tuple(ops), (SHAPE,) * len(ops), (len(ops),))


def doubled(count: int, length: int) -> OpGraph:
    """Pairs of equal chains, one pair after the other."""
    ops: list[Op] = []
    entry = 0
    for _ in range(count):
        ends = []
        for _ in range(2):
            tensor = entry
            for _ in range(length):
                ops.append(Op("Relu", (tensor,)))
                tensor = len(ops)
            ends.append(tensor)
        ops.append(Op("Add", tuple(ends)))
        entry = len(ops)
    return OpGraph((SHAPE,), tuple(ops), (SHAPE,) * len(ops), (entry,))


def braid(length: int) -> OpGraph:
    """Three strands, each the difference of two before it, round and round."""
    ops = [Op("Relu", (0,))] * 3
    for _ in range(length):
        first = len(ops) - 2
        ops += [Op("Sub", (first + k, first + (k + 1) % 3)) for k in range(3)]
    ops.append(Op("Sum", tuple(range(len(ops) - 2, len(ops) + 1))))
    return OpGraph((SHAPE,), tuple(ops), (SHAPE,) * len(ops), (len(ops),))
