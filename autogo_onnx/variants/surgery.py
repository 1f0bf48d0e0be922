"""Cuts and grafts on a weight-free graph; shapes of what is not touched stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autogo_onnx.opgraph import Op, OpGraph, Shape


def substitute(graph: OpGraph, parts: Mapping[Sequence[int], OpGraph]) -> OpGraph:
    """The graph with some chains of operators replaced.

    Args:
        graph: whose boundary stays.
        parts: replacements of one input and one output, by the operators that each stands for: a
            chain that nothing else reads in between.
    """
    part_at = {chosen[-1]: (chosen, part) for chosen, part in parts.items()}
    inside = {index for chosen in parts for index in chosen}
    number = {t: t for t in range(graph.n_inputs)}
    ops: list[Op] = []
    shapes: list[Shape] = []

    def add(op: Op, shape: Shape, names: Mapping[int, int]) -> int:
        ops.append(replace(op, inputs=tuple(names[t] for t in op.inputs)))
        shapes.append(shape)
        return graph.n_inputs + len(ops) - 1

    for index, op in enumerate(graph.ops):
        out = graph.n_inputs + index
        if index in part_at:
            chosen, part = part_at[index]
            local = {0: number[graph.ops[chosen[0]].inputs[0]]}
            for k, inner in enumerate(part.ops):
                local[1 + k] = add(inner, part.op_shapes[k], local)
            number[out] = local[part.outputs[0]]
        elif index not in inside:
            number[out] = add(op, graph.op_shapes[index], number)
    outputs = tuple(number[t] for t in graph.outputs)
    return OpGraph(graph.input_shapes, tuple(ops), tuple(shapes), outputs)


def without_operand(graph: OpGraph, index: int, position: int) -> tuple[OpGraph, int]:
    """The graph where an operator lacks one operand, without what only served that operand.

    Returns:
        The graph, and where the operator stands in it.
    """
    op = graph.ops[index]
    rest = (*op.inputs[:position], *op.inputs[position + 1 :])
    ops = (*graph.ops[:index], replace(op, inputs=rest), *graph.ops[index + 1 :])
    changed = replace(graph, ops=ops)
    return living(changed), _needed(changed).index(index)


def bypassed(graph: OpGraph, index: int, tensor: int) -> OpGraph:
    """The graph where whatever reads an operator's result reads an earlier tensor instead."""
    out = graph.n_inputs + index
    number = {t: t for t in range(graph.n_tensors)} | {out: tensor}
    ops = tuple(replace(op, inputs=tuple(number[t] for t in op.inputs)) for op in graph.ops)
    return living(replace(graph, ops=ops, outputs=tuple(number[t] for t in graph.outputs)))


def living(graph: OpGraph) -> OpGraph:
    """The graph without operators that no output needs."""
    kept = _needed(graph)
    number = {t: t for t in range(graph.n_inputs)}
    number |= {graph.n_inputs + i: graph.n_inputs + k for k, i in enumerate(kept)}
    return OpGraph(
        graph.input_shapes,
        tuple(
            replace(graph.ops[i], inputs=tuple(number[t] for t in graph.ops[i].inputs))
            for i in kept
        ),
        tuple(graph.op_shapes[i] for i in kept),
        tuple(number[t] for t in graph.outputs),
    )


def _needed(graph: OpGraph) -> list[int]:
    """Operators that some output needs, in order; those of one node (`Split`) stay together."""
    nodes = {(op.kind, op.inputs) for op in graph.ops if op.get("output")}
    needed = set(graph.outputs)
    kept: set[tuple[str, tuple[int, ...]]] = set()
    for index in reversed(range(len(graph.ops))):
        op = graph.ops[index]
        if graph.n_inputs + index in needed:
            needed.update(op.inputs)
            kept.add((op.kind, op.inputs))
    return [
        index
        for index, op in enumerate(graph.ops)
        if graph.n_inputs + index in needed or (op.kind, op.inputs) in nodes & kept
    ]
