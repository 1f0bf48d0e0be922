"""A published network as it is trained: batch normalizations are operators, biases are known."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from math import prod

import onnx

from autogo_onnx import cost
from autogo_onnx.materialize import random_weights, to_onnx
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.weights import weight_shapes

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_BIASED = _CONVOLUTIONS | {"Gemm"}


@dataclass(frozen=True)
class Network:
    """A weight-free network of a family.

    Attributes:
        graph: every operator as published. `Identity` stands for a dropout.
        biased: indices of the convolutions and linear layers that have a bias.
        places: operators of every cell, block or layer that the family repeats or chooses, where
            its generator tells; an identity block has none. Networks are equal whatever they are.
    """

    graph: OpGraph
    biased: frozenset[int]
    places: tuple[range, ...] = field(default=(), compare=False)

    def parameters(self) -> int:
        """Trainable parameters; a batch normalization has two per channel."""
        total = 0
        for index, shapes in weight_shapes(self.graph).items():
            kind = self.graph.ops[index].kind
            kept = shapes[:2] if kind == "BatchNormalization" else shapes
            if kind in _BIASED and index not in self.biased:
                kept = shapes[:1]
            total += sum(map(prod, kept))
        return total

    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers."""
        return cost.macs(self.graph)

    def folded(self) -> OpGraph:
        """The network as it is deployed, which is how segments are mined.

        Batch normalizations are folded into the convolution that they alone read, and dropouts are
        gone.
        """
        return without(self.graph, self._folded_away)

    def folded_places(self) -> tuple[range, ...]:
        """The places as operators of the folded network.

        >>> from autogo_onnx.segment_db.families import nasbench_macro
        >>> nasbench_macro.build("00000001").folded_places()[-2:]
        (range(5, 5), range(5, 11))
        """
        gone = self._folded_away
        kept = [index not in gone for index in range(len(self.graph.ops))]
        number = list(accumulate(kept, initial=0))
        return tuple(range(number[place.start], number[place.stop]) for place in self.places)

    @cached_property
    def _folded_away(self) -> frozenset[int]:
        """Dropouts, and batch normalizations that a convolution can take up."""
        graph = self.graph
        readers = graph.readers()
        gone = set()
        for index, op in enumerate(graph.ops):
            maker = graph.producer(op.inputs[0])
            if op.kind == "Identity" or (
                op.kind == "BatchNormalization"
                and maker is not None
                and graph.ops[maker].kind in _CONVOLUTIONS
                and readers[op.inputs[0]] == (index,)
                and op.inputs[0] not in graph.outputs
            ):
                gone.add(index)
        return frozenset(gone)

    def to_onnx(self, seed: int, *, opset: int = 17) -> onnx.ModelProto:
        """The network with fresh He-scaled weights, batch normalizations unfolded.

        Raises:
            InputError: the opset cannot say one of the operators.
        """
        weights = random_weights(self.graph, seed)
        for index, values in weights.items():
            if self.graph.ops[index].kind in _CONVOLUTIONS and index not in self.biased:
                weights[index] = values[:1]
        return to_onnx(self.graph, weights, opset=opset)


def without(graph: OpGraph, gone: Set[int]) -> OpGraph:
    """The graph with some operators of one operand replaced by that operand."""
    number = {t: t for t in range(graph.n_inputs)}
    ops: list[Op] = []
    kept = []
    for index, op in enumerate(graph.ops):
        operands = tuple(number[t] for t in op.inputs)
        if index in gone:
            number[graph.n_inputs + index] = operands[0]
        else:
            number[graph.n_inputs + index] = graph.n_inputs + len(ops)
            ops.append(replace(op, inputs=operands))
            kept.append(graph.op_shapes[index])
    return OpGraph(
        graph.input_shapes, tuple(ops), tuple(kept), tuple(number[t] for t in graph.outputs)
    )
