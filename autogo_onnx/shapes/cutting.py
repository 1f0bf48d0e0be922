"""Operators that join tensors or take parts of them: Concat, Split, Slice, Pad."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial

from autogo_onnx.opgraph import Op, OpGraph, Shape, node_outputs
from autogo_onnx.shapes.structure import Attributes, Option, Relation, Structure, Sum, Unknown
from autogo_onnx.shapes.windows import Size

# Bounds of a channel slice that are meant as shares of the channels, not as numbers of them.
_SHARES = frozenset(Fraction(n, d) for d in (2, 3, 4) for n in range(d + 1))
_FAR = 2**31  # a bound that ONNX cuts off at the end, whatever the length

_Cut = tuple[int, int, int]  # start, end, step


def concat(found: Structure, index: int, op: Op) -> None:
    """Widths add up along the channels, lengths along any other axis."""
    out = found.out(index)
    axis = op.get("axis", 1) % len(found.graph.shape(out))
    if axis == 0:
        raise Unknown("concatenation along the batch")
    if axis == found.layout[out]:
        found.sizes.merge((*op.inputs, out))
        found.sums.append(Sum(index, ((out, -1), *((t, 1) for t in op.inputs))))
        found.ones[out] = frozenset.intersection(
            *(found.ones.get(tensor, frozenset()) for tensor in op.inputs)
        )
    else:
        found.widths.merge((*op.inputs, out))
        joined = partial(_joined, found.place(out, axis))
        found.relations[index] = Relation(op.inputs, joined)


def joins_constant(graph: OpGraph, index: int) -> bool:
    """Whether an operator is a Concat whose operands are not all of it (a class token)."""
    op, made = graph.ops[index], graph.op_shapes[index]
    if op.kind != "Concat" or not made:
        return False
    axis: int = op.get("axis", 1) % len(made)
    total = sum(graph.shape(tensor)[axis] for tensor in op.inputs)
    return total != made[axis]


def _joined(place: int, parts: tuple[Size, ...]) -> Size | None:
    """Size of a concatenation; None where the other axes differ."""
    first = parts[0]
    if any(p[:place] != first[:place] or p[place + 1 :] != first[place + 1 :] for p in parts):
        return None
    return (*first[:place], sum(part[place] for part in parts), *first[place + 1 :])


def split(found: Structure, index: int, op: Op) -> None:
    """Every part keeps its share; all parts must be in the segment."""
    graph, tensor, out = found.graph, op.inputs[0], found.out(index)
    axis = op.get("axis", 0) % len(graph.shape(out))
    whole, part = graph.shape(tensor)[axis], graph.shape(out)[axis]
    if axis == 0:
        raise Unknown("it splits the batch")
    if sum(graph.op_shapes[i][axis] for i in node_outputs(graph, index).values()) != whole:
        raise Unknown("its other parts are elsewhere")
    if axis == found.layout[out]:
        found.sizes.merge((tensor, out))
        found.scale_width(index, tensor, part, whole)
    else:
        found.widths.merge((tensor, out))
        shared = partial(_shared, Fraction(part, whole), found.place(out, axis))
        found.options[index] = (Option(0, shared),)
    if "split" in dict(op.attributes):
        found.rewrites[index] = partial(_with_parts, op, axis)


def _shared(share: Fraction, place: int, size: Size) -> Size | None:
    length = size[place] * share
    if length.denominator > 1:
        return None
    return (*size[:place], int(length), *size[place + 1 :])


def _with_parts(op: Op, axis: int, given: Shape, made: Shape) -> Attributes:
    mined = op.get("split")
    return {"split": tuple(part * given[axis] // sum(mined) for part in mined)}


def slice_(found: Structure, index: int, op: Op) -> None:
    """Bounds stay as far from the end that they are counted from.

    A bound of channels at a half, a third or a quarter of them stays there.
    """
    tensor, out = op.inputs[0], found.out(index)
    cuts = _cuts(op, len(found.graph.shape(tensor)))
    if 0 in cuts:
        raise Unknown("it takes a part of the batch")
    channels = found.layout[tensor]
    places = [(found.place(tensor, axis), cut) for axis, cut in cuts.items() if axis != channels]
    if places:
        found.options[index] = (Option(0, partial(_sliced, places)),)
    else:
        found.sizes.merge((tensor, out))
    if channels is not None and channels in cuts:
        _slice_channels(found, index, channels, cuts[channels])
    else:
        found.widths.merge((tensor, out))


def _cuts(op: Op, rank: int) -> dict[int, _Cut]:
    """What is taken, by axis; axes that are taken whole, however long, are left out."""
    starts, ends = op.get("starts"), op.get("ends")
    if starts is None or ends is None:
        raise Unknown("computed bounds")
    axes = op.get("axes", tuple(range(len(starts))))
    steps = op.get("steps", (1,) * len(starts))
    if any(step < 1 for step in steps):
        raise Unknown("it goes backwards")
    rows = zip(axes, starts, ends, steps, strict=True)
    found = {axis % rank: (start, end, step) for axis, start, end, step in rows}
    return {a: cut for a, cut in found.items() if cut[0] or cut[1] < _FAR or cut[2] > 1}


def _bounds(length: int, cut: _Cut) -> tuple[int, int]:
    """First and last (exclusive) of an axis, perhaps outside."""
    start, end, _ = cut
    last = length if end >= _FAR else end + length if end < 0 else end
    return start + length if start < 0 else start, last


def _sliced(cuts: Sequence[tuple[int, _Cut]], size: Size) -> Size | None:
    after = list(size)
    for place, cut in cuts:
        first, last = _bounds(size[place], cut)
        if not 0 <= first < last <= size[place]:
            return None
        after[place] = -(-(last - first) // cut[2])
    return tuple(after)


def _slice_channels(found: Structure, index: int, axis: int, cut: _Cut) -> None:
    """In shares, or all but a few at the ends, or a few at one end."""
    op, out = found.graph.ops[index], found.out(index)
    tensor, whole, made = op.inputs[0], found.width(op.inputs[0]), found.width(out)
    (first, last), step = _bounds(whole, cut), cut[2]
    if step > 1:
        if first >= step or last != whole or whole % step:
            raise Unknown("every n-th of a part of the channels")
        found.scale_width(index, tensor, 1, step)
    elif {Fraction(first, whole), Fraction(last, whole)} <= _SHARES:
        found.scale_width(index, tensor, made, whole)
        found.rewrites[index] = partial(_with_shares, op, axis, (first, last, whole))
    elif cut[0] >= 0 and (cut[1] < 0 or cut[1] >= _FAR):
        found.sums.append(Sum(index, ((out, -1), (tensor, 1)), made - whole))
    else:
        least = last if cut[0] >= 0 else whole - first
        found.sums.append(Sum(index, ((out, -1),), made))
        found.sums.append(Sum(index, ((tensor, 1),), 1 - least, leaves_rest=True))


def _with_shares(
    op: Op, axis: int, mined: tuple[int, int, int], given: Shape, made: Shape
) -> Attributes:
    first, last, whole = mined
    rank = len(given)
    at = [a % rank for a in op.get("axes", tuple(range(len(op.get("starts")))))].index(axis)
    starts, ends = list(op.get("starts")), list(op.get("ends"))
    starts[at] = first * given[axis] // whole
    if last < whole:
        ends[at] = last * given[axis] // whole
    return {"starts": tuple(starts), "ends": tuple(ends)}


def pad(found: Structure, index: int, op: Op) -> None:
    """Lengths and widths grow by what is added."""
    tensor, out, pads = op.inputs[0], found.out(index), op.get("pads")
    if pads is None:
        raise Unknown("computed pads")
    rank = len(found.graph.shape(tensor))
    pairs = tuple(zip(pads[:rank], pads[rank:], strict=True))
    if any(pairs[0]) or min(pads) < 0:
        raise Unknown("it pads the batch, or cuts off")
    channels, is_constant = found.layout[tensor], op.get("mode", "constant") == "constant"
    if channels is not None and any(pairs[channels]) and not is_constant:
        raise Unknown("channels added as copies of others")
    added = tuple(pair for axis, pair in enumerate(pairs) if axis not in (0, channels))
    if any(map(any, added)):
        reflects = op.get("mode", "constant") == "reflect"
        found.options[index] = (Option(0, partial(_padded, added, reflects)),)
    else:
        found.sizes.merge((tensor, out))
    if channels is not None and any(pairs[channels]):
        found.sums.append(Sum(index, ((out, -1), (tensor, 1)), sum(pairs[channels])))
    else:
        found.widths.merge((tensor, out))


def _padded(added: Sequence[tuple[int, int]], reflects: bool, size: Size) -> Size | None:
    """A reflection needs more values than it repeats."""
    if reflects and any(max(pair) >= n for n, pair in zip(size, added, strict=True)):
        return None
    return tuple(n + sum(pair) for n, pair in zip(size, added, strict=True))
