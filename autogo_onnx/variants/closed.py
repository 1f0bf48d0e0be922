"""Segments that are one convolution, or convolution - activation - convolution.

Their forms can be fitted in closed form, and all of them are listed.
"""

from __future__ import annotations

from collections.abc import Iterator

from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.segments import ACTIVATIONS
from autogo_onnx.variants.forms import (
    Named,
    Widths,
    chain,
    conv,
    named,
    of_convolution,
    rounded_widths,
)


def closed_forms(segment: OpGraph, widths: Widths = rounded_widths) -> Iterator[Named]:
    """Every form of such a segment, by name; nothing for any other.

    Args:
        segment: any.
        widths: of ranks, and between two convolutions.
    """
    kinds = [op.kind for op in segment.ops]
    if len(segment.input_shapes) != 1 or len(segment.outputs) != 1:
        return
    if kinds == ["Conv"] and len(segment.input_shapes[0]) == 4:
        shapes = segment.input_shapes[0], segment.op_shapes[0]
        yield from of_convolution(shapes[0], segment.ops[0], shapes[1][1], widths)
    elif is_convolution_pair(segment):
        yield from _narrower(segment, widths)
        yield from named("linearized", _linearized(segment))


def is_convolution_pair(segment: OpGraph) -> bool:
    """Two-dimensional convolution, activation, convolution, in a chain."""
    kinds = [op.kind for op in segment.ops]
    is_chain = all(op.inputs == (i,) for i, op in enumerate(segment.ops))
    is_flat = all(len(shape) == 4 for shape in (*segment.input_shapes, *segment.op_shapes))
    is_pair = len(kinds) == 3 and kinds[0] == kinds[2] == "Conv" and kinds[1] in ACTIVATIONS
    return is_pair and is_chain and is_flat


def _narrower(segment: OpGraph, widths: Widths) -> Iterator[Named]:
    """Fewer channels between two convolutions."""
    first, activation, last = segment.ops
    inner, outer = segment.op_shapes[0][1], segment.op_shapes[2][1]
    if first.get("group") != 1 or last.get("group") != 1:
        return
    for width in widths(inner)[1:]:
        steps = [(first, width), (activation, width), (last, outer)]
        yield "narrower", chain(segment.input_shapes[0], steps)


def _linearized(pair: OpGraph) -> Iterator[OpGraph]:
    """The two convolutions and the activation between them as one convolution, then its forms."""
    single = one_convolution(pair)
    if single is None:
        return
    yield single
    for _, graph in of_convolution(pair.input_shapes[0], single.ops[0], single.op_shapes[0][1]):
        yield graph


def one_convolution(pair: OpGraph) -> OpGraph | None:
    """The wider of the two windows with both strides; None where the sizes do not come out."""
    first, last = pair.ops[0], pair.ops[2]
    source, channels = pair.input_shapes[0], pair.op_shapes[2][1]
    strides = tuple(a * b for a, b in zip(first.get("strides"), last.get("strides"), strict=True))
    wide: Op = max(first, last, key=lambda op: op.get("kernel_shape"))
    single = conv(wide.get("kernel_shape"), strides, wide.get("pads"), wide.get("dilations"))
    graph = chain(source, [(single, channels)])
    return graph if graph.output_shapes == pair.output_shapes else None
