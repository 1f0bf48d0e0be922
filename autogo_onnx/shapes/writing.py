"""Writes a solution back into the segment: strides, pads, groups, shapes, boundary order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autogo_onnx.opgraph import Op, OpGraph, Shape
from autogo_onnx.shapes.posing import grouping
from autogo_onnx.shapes.problem import Solution
from autogo_onnx.shapes.structure import Option, Structure, shape_of, size_of
from autogo_onnx.shapes.windows import Size


def write(
    found: Structure, solution: Solution, inputs: Sequence[Shape], outputs: Sequence[Shape]
) -> OpGraph:
    """The adapted segment, its boundary in the demanded order."""
    graph = found.graph
    sizes, widths = found.sizes.classes(), found.widths.classes()
    batch = inputs[0][0]
    shapes = [
        shape_of(batch, solution.widths[widths[t]], solution.sizes[sizes[t]], found.layout[t])
        for t in range(graph.n_tensors)
    ]
    number = (*solution.inputs, *range(graph.n_inputs, graph.n_tensors))
    ops = _written(found, shapes, solution.widths)
    if number != tuple(range(graph.n_tensors)):
        ops = [replace(op, inputs=tuple(number[t] for t in op.inputs)) for op in ops]
    order = sorted(range(len(graph.outputs)), key=lambda port: solution.outputs[port])
    adapted = OpGraph(
        input_shapes=tuple(inputs),
        ops=tuple(ops),
        op_shapes=tuple(shapes[graph.n_inputs :]),
        outputs=tuple(number[graph.outputs[port]] for port in order),
    )
    assert adapted.output_shapes == tuple(outputs), "a solution serves every demand"
    return adapted


def _written(found: Structure, shapes: Sequence[Shape], solved: Sequence[int]) -> list[Op]:
    """The operators with the attributes that give these shapes."""
    graph, widths = found.graph, found.widths.classes()
    ops = list(graph.ops)
    for index, op in enumerate(ops):
        tensor, out = op.inputs[0], found.out(index)
        if index in found.options:
            given = size_of(shapes[tensor], found.layout[tensor])
            made = size_of(shapes[out], found.layout[out])
            ops[index] = op = _with_option(op, _cheapest(found, index, given, made), given)
        if op.kind in {"Conv", "ConvTranspose"} and op.get("group", 1) == found.width(tensor) > 1:
            ops[index] = op.with_attributes(group=solved[widths[tensor]])
        if index in found.rewrites:
            ops[index] = op.with_attributes(**found.rewrites[index](shapes[tensor], shapes[out]))
    for each in found.groups:
        options = grouping(each, widths)
        groups = options.groups(*(solved[number] for number in options.classes))
        ops[each.index] = ops[each.index].with_attributes(group=groups)
    return ops


def _cheapest(found: Structure, index: int, given: Size, made: Size) -> Option:
    """The cheapest option between two sizes, the first of equals."""
    fitting = [o for o in found.options[index] if o.size_map(given) == made]
    return min(fitting, key=lambda option: option.cost)


def _with_option(op: Op, option: Option, given: Size) -> Op:
    if option.is_whole_map:
        return op.with_attributes(kernel_shape=given)
    return op.with_attributes(**dict(option.attributes)) if option.attributes else op
