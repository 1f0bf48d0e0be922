"""A network of the front as a model: the base's file with other parts in it, checked.

What did not change stays byte for byte, names included, whatever its operators are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from autogo_onnx import graph as graphs
from autogo_onnx import model as model_file
from autogo_onnx import signature
from autogo_onnx.errors import InputError, PromiseError
from autogo_onnx.evolution.member import key_of
from autogo_onnx.evolved.base import Base
from autogo_onnx.evolved.changes import Change
from autogo_onnx.evolved.inheritance import Inheritance, inherited
from autogo_onnx.liveness import cleanup
from autogo_onnx.messages import opset_of
from autogo_onnx.opgraph import Op, OpGraph, cut
from autogo_onnx.rewriters.eliminate_identity import RULE as ELIMINATE_IDENTITY
from autogo_onnx.rewriters.replace_segment import free_prefix, replace_segment
from autogo_onnx.rewriters.sweep import to_fixed_point
from autogo_onnx.serialize import canonical_form
from autogo_onnx.sizes import read_model
from autogo_onnx.splice import splice

_MOST_CHANGES = 1 << 16
_HARD_SWISH_SINCE = 14


@dataclass(frozen=True)
class Built:
    """A model, and what each of its changes inherited."""

    model: onnx.ModelProto
    inherited: tuple[Inheritance, ...]


def build(base: Base, changes: Sequence[Change], wanted: OpGraph, seed: int) -> Built:
    """The base with some changes.

    Args:
        base: what is changed.
        changes: that touch each other nowhere.
        wanted: the network that must come out.
        seed: of the weights that nothing is inherited for.

    Raises:
        InputError: the base's opset cannot say an operator of a change.
        PromiseError: the model is not valid, or is not the network that was wanted.
    """
    graph = graphs.from_model(base.model)
    prefix = free_prefix(graph)
    names = base.reading.tensors
    weights = []
    for number, change in enumerate(changes):
        given = {k: base.weights(i) for k, i in enumerate(change.before.ops)}
        weights.append(inherited(change, given, seed * _MOST_CHANGES + number))
        replace_segment(
            graph,
            [names[tensor] for tensor in change.inputs],
            [names[tensor] for tensor in change.outputs],
            change.after,
            weights[-1].weights,
            f"{prefix}/{number}",
        )
    cleanup(graph)
    to_fixed_point(graph, [ELIMINATE_IDENTITY])
    model = graphs.to_model(graph, base.model)
    _check(base, model, wanted)
    return Built(model, tuple(weights))


def _check(base: Base, model: onnx.ModelProto, wanted: OpGraph) -> None:
    """The promises of a model that is written: valid, of the base's face, the network wanted.

    Raises:
        PromiseError: one is broken.
    """
    try:
        model_file.check(model)
        found = read_model(model, base.shapes).opgraph
    except InputError as error:
        raise PromiseError(f"an evolved model is not valid: {error}") from error
    problems = signature.problems(base.model, model)
    if problems:
        raise PromiseError(f"an evolved model has another face: {problems[0]}")
    wanted = _as_written(wanted, opset_of(model))
    if key_of(canonical_form(found)) != key_of(canonical_form(wanted)):
        raise PromiseError("an evolved model is not the network that was found")


def _as_written(graph: OpGraph, opset: int) -> OpGraph:
    """The network with HardSwish by its definition, where the opset does not have it."""
    if opset >= _HARD_SWISH_SINCE:
        return graph
    for index in reversed([i for i, op in enumerate(graph.ops) if op.kind == "HardSwish"]):
        shape = graph.op_shapes[index]
        gate = Op.make("HardSigmoid", (0,), alpha=float(np.float32(1 / 6)), beta=0.5)
        spelled = OpGraph((shape,), (gate, Op("Mul", (0, 1))), (shape, shape), (2,))
        graph = splice(graph, cut(graph, [index]), spelled).graph
    return graph
