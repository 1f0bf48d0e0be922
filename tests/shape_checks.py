"""What the shape tests share: adapting and checking, posing a problem."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort

from autogo_onnx.materialize import random_weights, to_onnx
from autogo_onnx.opgraph import OpGraph, Shape
from autogo_onnx.shapes import Infeasible, adapt
from autogo_onnx.shapes.operators import read
from autogo_onnx.shapes.posing import pose
from autogo_onnx.shapes.problem import Problem
from autogo_onnx.shapes.structure import Freedom, Structure


def run_and_check(graph: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> None:
    """The graph claims the demanded boundary, infers strictly, and runs with all its shapes."""
    assert graph.input_shapes == tuple(inputs)
    assert graph.output_shapes == tuple(outputs)
    everything = OpGraph(
        graph.input_shapes, graph.ops, graph.op_shapes, tuple(range(graph.n_tensors))
    )
    model = to_onnx(everything, random_weights(everything, seed=0))
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {f"x{i}": np.ones(shape, np.float32) for i, shape in enumerate(inputs)}
    results = [result.shape for result in session.run(None, feed)]
    assert results == [graph.shape(t) for t in range(graph.n_tensors)]


def adapted(segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> OpGraph:
    """Adapt, check, return."""
    graph = adapt(segment, inputs, outputs)
    assert isinstance(graph, OpGraph), graph
    run_and_check(graph, inputs, outputs)
    return graph


def attribute(graph: OpGraph, kind: str, name: str) -> list[object]:
    """An attribute of all operators of a kind."""
    return [op.get(name) for op in graph.ops if op.kind == kind]


def strides(graph: OpGraph) -> list[tuple[int, ...]]:
    return [op.get("strides") for op in graph.ops if op.get("strides")]


def widths(graph: OpGraph) -> list[int]:
    return [shape[1] for shape in graph.op_shapes]


def reason(segment: OpGraph, inputs: list[Shape], outputs: list[Shape]) -> str:
    result = adapt(segment, inputs, outputs)
    assert isinstance(result, Infeasible)
    return result.reason


def posed(
    segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape], step: int
) -> Problem:
    """The problem with padded windows."""
    problem = try_to_pose(segment, inputs, outputs, step)
    assert problem is not None
    return problem


def try_to_pose(
    segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape], step: int
) -> Problem | None:
    found = read(segment, Freedom(step))
    assert isinstance(found, Structure)
    problem = pose(found, inputs, outputs)
    return None if isinstance(problem, Infeasible) else problem
