"""Operators that compute value by value, alone or with a broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from autogo_onnx.opgraph import Op
from autogo_onnx.shapes.structure import Relation, Structure, Unknown
from autogo_onnx.shapes.windows import Size


def element_wise(found: Structure, index: int, op: Op) -> None:
    """The output is as the input."""
    tensors = (op.inputs[0], found.out(index))
    found.sizes.merge(tensors)
    found.widths.merge(tensors)
    if op.inputs[0] in found.ones:
        found.ones[tensors[1]] = found.ones[op.inputs[0]]


def broadcast(found: Structure, index: int, op: Op) -> None:
    """Along every axis, an operand is as long as the output or 1; likewise its width.

    On a segment that was mined on maps of 1x1 all operands look alike: what a reduction made 1 is
    then what is repeated.
    """
    graph, out = found.graph, found.out(index)
    if any(len(graph.shape(t)) != len(graph.shape(out)) for t in op.inputs):
        raise Unknown("operands of different rank")
    for tensor in op.inputs:
        _broadcast_width(found, tensor, out, is_alone=len(op.inputs) == 1)
    ones = {t: found.ones.get(t, frozenset()) for t in op.inputs}
    common = found.ones[out] = frozenset.intersection(*ones.values())
    repeated = {t: _repeated(found.size(t), found.size(out)) | ones[t] - common for t in ones}
    full = [t for t in ones if not repeated[t]]
    found.sizes.merge((*full, out))
    small = [t for t in ones if repeated[t]]
    found.single += [t for t in small if full and len(repeated[t]) == len(found.size(t))]
    partly = [t for t in small if t not in found.single]
    if partly:
        parts = (*full[:1], *partly)
        stretch = partial(_stretch, tuple(repeated[t] for t in parts))
        found.relations[index] = Relation(parts, stretch)


def _broadcast_width(found: Structure, tensor: int, out: int, *, is_alone: bool) -> None:
    given, made = found.width(tensor), found.width(out)
    if given == made:
        found.widths.merge((tensor, out))
    elif given == 1 and not is_alone:
        found.one_channel.append(tensor)
    else:
        raise Unknown("a constant that widens its operand")


def _repeated(given: Size, made: Size) -> frozenset[int]:
    """The places at which an operand of length 1 is repeated."""
    pairs = list(zip(given, made, strict=True))
    if any(a not in (1, b) for a, b in pairs):
        raise Unknown("sizes that do not broadcast")
    return frozenset(place for place, (a, b) in enumerate(pairs) if a != b)


def _stretch(ones: Sequence[frozenset[int]], sizes: tuple[Size, ...]) -> Size | None:
    """The size of a broadcast whose operands are 1 at certain places, and only there."""
    made: list[int | None] = [None] * len(sizes[0])
    for places, size in zip(ones, sizes, strict=True):
        for place, length in enumerate(size):
            if place in places:
                if length != 1:
                    return None
            elif made[place] not in (None, length):
                return None
            else:
                made[place] = length
    return tuple(length or 1 for length in made)
