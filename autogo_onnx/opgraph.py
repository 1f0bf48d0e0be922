"""A weight-free graph of ONNX operators: the value that mining, shapes, cost and features share.

Tensors are numbered: `0 .. n_inputs-1` are the ordered boundary inputs, `n_inputs + i` is the
output of operator `i`. Operators stand in topological order, so every input number of an operator
is smaller than its output number. Weights, biases and other constants are not operands: a `Conv`
has one input, an `Add` of a constant has one input. An operator's kind is its ONNX type and its
attributes are ONNX's own, normalized by the reader:

| kind | attributes |
| --- | --- |
| Conv, ConvTranspose | kernel_shape, strides, pads (top, left, bottom, right), dilations, group |
| MaxPool, AveragePool | kernel_shape, strides, pads, ceil_mode, (count_include_pad) |
| Concat | axis (non-negative) |
| everything else | the node's integer, float and string attributes as they are |

Shapes are full ONNX shapes, batch axis included (1 unless told otherwise).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

Shape = tuple[int, ...]
AttributeValue = int | float | str | tuple[int, ...]
Attributes = tuple[tuple[str, AttributeValue], ...]


@dataclass(frozen=True)
class Op:
    """One operator: ONNX type, operand tensor numbers, attributes sorted by name."""

    kind: str
    inputs: tuple[int, ...]
    attributes: Attributes = ()

    @classmethod
    def make(cls, kind: str, inputs: Collection[int], **attributes: AttributeValue) -> Op:
        """An operator with its attributes put in order."""
        return cls(kind, tuple(inputs), tuple(sorted(attributes.items())))

    def get(self, name: str, default: Any = None) -> Any:
        """Value of the attribute `name`, else `default`."""
        return dict(self.attributes).get(name, default)

    def with_attributes(self, **attributes: AttributeValue) -> Op:
        """The same operator with some attributes replaced."""
        return replace(
            self, attributes=tuple(sorted({**dict(self.attributes), **attributes}.items()))
        )


@dataclass(frozen=True)
class OpGraph:
    """A weight-free graph: boundary input shapes, operators, their output shapes, its outputs."""

    input_shapes: tuple[Shape, ...]
    ops: tuple[Op, ...]
    op_shapes: tuple[Shape, ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.ops) == len(self.op_shapes), "one output shape per operator"
        for made, op in enumerate(self.ops, self.n_inputs):
            for tensor in op.inputs:  # a loop: graphs are made by the thousand
                assert 0 <= tensor < made, f"op {made - self.n_inputs} out of order"
        assert all(0 <= t < self.n_tensors for t in self.outputs), "unknown output tensor"

    @property
    def n_inputs(self) -> int:
        """Number of boundary inputs."""
        return len(self.input_shapes)

    @property
    def n_tensors(self) -> int:
        """Number of tensors: inputs and operator outputs."""
        return len(self.input_shapes) + len(self.ops)

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the boundary outputs."""
        return tuple(self.shape(t) for t in self.outputs)

    def shape(self, tensor: int) -> Shape:
        """Shape of a tensor by number."""
        if tensor < self.n_inputs:
            return self.input_shapes[tensor]
        return self.op_shapes[tensor - self.n_inputs]

    def producer(self, tensor: int) -> int | None:
        """Index of the operator that makes the tensor; None for a boundary input."""
        return tensor - self.n_inputs if tensor >= self.n_inputs else None

    def readers(self) -> tuple[tuple[int, ...], ...]:
        """For every tensor, the operators that read it, once each, in order."""
        readers: list[list[int]] = [[] for _ in range(self.n_tensors)]
        for index, op in enumerate(self.ops):
            for tensor in dict.fromkeys(op.inputs):
                readers[tensor].append(index)
        return tuple(tuple(r) for r in readers)


def node_outputs(graph: OpGraph, index: int) -> dict[int, int]:
    """The operators that stand for the outputs of one node: index by the output's position.

    Every output of a node is an operator, and from the second on they say so by `output`. Of equal
    nodes the first operators of every position belong together, then the second ones.

    >>> first, second = Op.make("Split", (0,), axis=1), Op.make("Split", (0,), axis=1, output=1)
    >>> node_outputs(OpGraph(((1, 4),), (second, first), ((1, 2), (1, 2)), (1, 2)), 1)
    {0: 1, 1: 0}
    """
    node = graph.ops[index].with_attributes(output=0)
    by_position: dict[int, list[int]] = {}
    for other, op in enumerate(graph.ops):
        if op.kind == node.kind and op.with_attributes(output=0) == node:
            by_position.setdefault(op.get("output", 0), []).append(other)
    turn = by_position[graph.ops[index].get("output", 0)].index(index)
    return {at: ops[turn] for at, ops in sorted(by_position.items()) if turn < len(ops)}


@dataclass(frozen=True)
class Cut:
    """A part of a graph as a graph of its own, and where its boundary lies in the whole."""

    graph: OpGraph
    ops: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def cut(
    whole: OpGraph, ops: Collection[int], readers: Sequence[Sequence[int]] | None = None
) -> Cut:
    """The sub-graph of some operators, with ordered boundary tensors.

    Inputs are ordered by first use, outputs by production. A tensor is an output when another
    operator or the whole graph's output reads it. `readers` are the whole's where they are known;
    finding them takes longer than a small cut.
    """
    chosen = tuple(sorted(ops))
    inside = {whole.n_inputs + i for i in chosen}
    inputs = tuple(dict.fromkeys(t for i in chosen for t in whole.ops[i].inputs if t not in inside))
    readers = whole.readers() if readers is None else readers
    members = set(chosen)
    outputs = tuple(
        t for t in sorted(inside) if t in whole.outputs or any(r not in members for r in readers[t])
    )
    number = {t: n for n, t in enumerate(inputs)}
    number.update({whole.n_inputs + i: len(inputs) + n for n, i in enumerate(chosen)})
    copied = [whole.ops[i] for i in chosen]
    part = OpGraph(
        input_shapes=tuple([whole.shape(t) for t in inputs]),
        ops=tuple([Op(o.kind, tuple([number[t] for t in o.inputs]), o.attributes) for o in copied]),
        op_shapes=tuple([whole.op_shapes[i] for i in chosen]),
        outputs=tuple([number[t] for t in outputs]),
    )
    return Cut(part, chosen, inputs, outputs)


def to_json(graph: OpGraph) -> str:
    """Compact JSON with a fixed key order: equal graphs give equal bytes."""
    return json.dumps(
        {
            "inputs": graph.input_shapes,
            "ops": [[op.kind, op.inputs, dict(op.attributes)] for op in graph.ops],
            "shapes": graph.op_shapes,
            "outputs": graph.outputs,
        },
        separators=(",", ":"),
    )


def from_json(text: str) -> OpGraph:
    """The graph written by `to_json`.

    >>> relu = OpGraph(((1, 4),), (Op("Relu", (0,)),), ((1, 4),), (1,))
    >>> from_json(to_json(relu)) == relu
    True
    """
    data = json.loads(text)
    return OpGraph(
        input_shapes=tuple(tuple(s) for s in data["inputs"]),
        ops=tuple(
            Op.make(
                kind, inputs, **{k: tuple(v) if isinstance(v, list) else v for k, v in a.items()}
            )
            for kind, inputs, a in data["ops"]
        ),
        op_shapes=tuple(tuple(s) for s in data["shapes"]),
        outputs=tuple(data["outputs"]),
    )
