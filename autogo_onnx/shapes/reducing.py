"""Global pools and reductions."""

from __future__ import annotations

from functools import partial

from autogo_onnx.opgraph import Op
from autogo_onnx.shapes.sliding import to_one
from autogo_onnx.shapes.structure import Option, Structure, Unknown
from autogo_onnx.shapes.windows import Size


def global_pool(found: Structure, index: int, op: Op) -> None:
    """A map of 1x1, whatever the input's size."""
    out = found.out(index)
    found.widths.merge((op.inputs[0], out))
    found.options[index] = (Option(0, to_one),)
    found.ones[out] = frozenset(range(len(found.size(out))))


def reduce(found: Structure, index: int, op: Op) -> None:
    """Over axes of the map (all of them: a global pool), or over channels to one channel."""
    tensor, out = op.inputs[0], found.out(index)
    rank, channels = len(found.graph.shape(tensor)), found.layout[tensor]
    axes = {a % rank for a in op.get("axes", tuple(range(rank)))}
    keeps = bool(op.get("keepdims", 1))
    if 0 in axes or not axes or (channels in axes and not keeps):
        raise Unknown("a reduction over these axes")
    if channels in axes:
        found.one_channel.append(out)
    else:
        found.widths.merge((tensor, out))
    places = frozenset(found.place(tensor, axis) for axis in axes if axis != channels)
    if not places:
        found.sizes.merge((tensor, out))
        return
    found.options[index] = (Option(0, partial(_reduced if keeps else _dropped, places)),)
    if keeps:
        found.ones[out] = places


def _reduced(places: frozenset[int], size: Size) -> Size:
    return tuple(1 if place in places else n for place, n in enumerate(size))


def _dropped(places: frozenset[int], size: Size) -> Size:
    return tuple(n for place, n in enumerate(size) if place not in places)
