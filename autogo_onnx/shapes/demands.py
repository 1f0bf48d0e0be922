"""What a site asks for: whether it makes a problem at all, and how it shrinks its maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import log2

from autogo_onnx.opgraph import OpGraph, Shape


def obstacle(segment: OpGraph, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> str:
    """Why these demands make no problem at all; empty when they do."""
    mined = (*segment.input_shapes, *segment.output_shapes)
    if not segment.input_shapes or not segment.outputs:
        return "a segment without inputs or without outputs"
    if (len(inputs), len(outputs)) != (segment.n_inputs, len(segment.outputs)):
        return (
            f"{segment.n_inputs} inputs and {len(segment.outputs)} outputs cannot serve "
            f"{len(inputs)} and {len(outputs)}"
        )
    if any(len(shape) < 2 or min(shape) < 1 for shape in (*mined, *inputs, *outputs)):
        return "a boundary shape without batch and channel axes, or of no elements"
    if len({shape[0] for shape in (*inputs, *outputs)}) > 1:
        return "the demanded shapes differ in their batch axis"
    pairs = ((segment.input_shapes, inputs, "inputs"), (segment.output_shapes, outputs, "outputs"))
    for given, wanted, name in pairs:
        if sorted(map(len, given)) != sorted(map(len, wanted)):
            able, must = (" and ".join(_text(shape) for shape in each) for each in (given, wanted))
            return f"its {name} {able} have other numbers of axes than {must}"
    return ""


def _text(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


def is_uneven(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> bool:
    """Whether some path must shrink one axis more than another."""
    return any(
        len({round(log2(a / b)) for a, b in zip(given[2:], made[2:], strict=True)}) > 1
        for given, made in product(inputs, outputs)
        if len(given) == len(made)
    )


def largest_ratio(inputs: Sequence[Shape], outputs: Sequence[Shape]) -> float:
    """How much the site shrinks an axis, at most."""
    return max(
        (
            a / b
            for given, made in product(inputs, outputs)
            if len(given) == len(made)
            for a, b in zip(given[2:], made[2:], strict=True)
        ),
        default=1.0,
    )
