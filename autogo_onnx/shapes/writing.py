"""Writes a solution back into the segment: strides, pads, groups, shapes, boundary order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from autogo_onnx.opgraph import Op, OpGraph, Shape
from autogo_onnx.shapes.problem import Solution
from autogo_onnx.shapes.structure import Option, Structure
from autogo_onnx.shapes.windows import Size


def write(
    found: Structure, solution: Solution, inputs: Sequence[Shape], outputs: Sequence[Shape]
) -> OpGraph:
    """The adapted segment, its boundary in the demanded order."""
    graph = found.graph
    sizes, widths = found.sizes.classes(), found.widths.classes()
    batch = inputs[0][0]
    shapes = [
        (batch, solution.widths[widths[t]], *solution.sizes[sizes[t]])
        for t in range(graph.n_tensors)
    ]
    number = dict(enumerate(solution.inputs))
    number |= {tensor: tensor for tensor in range(graph.n_inputs, graph.n_tensors)}
    ops = []
    for index, op in enumerate(graph.ops):
        given, made = shapes[op.inputs[0]], shapes[graph.n_inputs + index]
        if index in found.options:
            op = _with_option(op, _cheapest(found, index, given[2:], made[2:]), given[2:])
        if op.kind in {"Conv", "ConvTranspose"}:
            mined_width = graph.shape(op.inputs[0])[1]
            op = _with_group(op, mined_width, given[1], made[1])
        ops.append(replace(op, inputs=tuple(number[t] for t in op.inputs)))
    order = sorted(range(len(graph.outputs)), key=lambda port: solution.outputs[port])
    adapted = OpGraph(
        input_shapes=tuple(inputs),
        ops=tuple(ops),
        op_shapes=tuple(shapes[graph.n_inputs :]),
        outputs=tuple(number[graph.outputs[port]] for port in order),
    )
    assert adapted.output_shapes == tuple(outputs), "a solution serves every demand"
    return adapted


def _cheapest(found: Structure, index: int, given: Size, made: Size) -> Option:
    """The cheapest option between two sizes, the first of equals."""
    fitting = [o for o in found.options[index] if o.size_map(given) == made]
    return min(fitting, key=lambda option: option.cost)


def _with_option(op: Op, option: Option, given: Size) -> Op:
    if option.is_whole_map:
        return op.with_attributes(kernel_shape=given)
    if option.window is None:
        return op
    begins, ends = zip(*option.window.pads, strict=True)
    return op.with_attributes(strides=option.window.strides, pads=tuple(chain(begins, ends)))


def _with_group(op: Op, mined_width: int, given: int, made: int) -> Op:
    """Depthwise stays depthwise; other groups are the most that still divide both widths."""
    group = op.get("group", 1)
    if group == 1:
        return op
    if group == mined_width:
        return op.with_attributes(group=given)
    most = min(group, given)
    fitting = (g for g in range(most, 0, -1) if given % g == 0 and made % g == 0)
    return op.with_attributes(group=next(fitting))
