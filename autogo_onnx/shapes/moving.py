"""Operators that only move values: axes change places, are split, merged, added or dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import isqrt, log2, prod

from autogo_onnx.opgraph import Op
from autogo_onnx.shapes.layout import Axes, Block, kept_axes, reshape_blocks
from autogo_onnx.shapes.structure import Area, Option, Structure, Unknown
from autogo_onnx.shapes.windows import Size

# In the unit of problem.py.
_GROUPS_HALVED = 500_000
_ASPECT_CHANGED = 300_000

_Places = tuple[int, ...]
_Map = Callable[[Size], Size | None]


def transpose(found: Structure, index: int, op: Op) -> None:
    """Also squeezing and unsqueezing: what stays has a new place, what goes or comes is 1."""
    tensor, out = op.inputs[0], found.out(index)
    pairs = kept_axes(found.graph, index, op)
    if (0, 0) not in pairs:
        raise Unknown("it moves the batch axis")
    channels = (found.layout[tensor], found.layout[out])
    if channels != (None, None) and channels not in pairs:
        raise Unknown("it adds or drops the axis of channels")
    found.widths.merge((tensor, out))
    source: list[int | None] = [None] * len(found.size(out))
    for axis, place in pairs:
        if axis and axis != channels[0]:
            source[found.place(out, place)] = found.place(tensor, axis)
    if source == list(range(len(found.size(tensor)))):
        found.sizes.merge((tensor, out))
    else:
        found.options[index] = (Option(0, partial(_moved, tuple(source))),)


def _moved(source: Sequence[int | None], size: Size) -> Size | None:
    """A size whose axes come from other places; a new axis, and one that goes, is 1."""
    gone = set(range(len(size))) - set(source)
    if any(size[place] != 1 for place in gone):
        return None
    return tuple(1 if place is None else size[place] for place in source)


@dataclass(frozen=True)
class _Step:
    """What one block of a Reshape does to sizes.

    Attributes:
        given, made: places in the sizes of input and output.
        maps: pairs (price, map from the lengths given to those made).
    """

    given: _Places
    made: _Places
    maps: tuple[tuple[int, _Map], ...]


def reshape(found: Structure, index: int, op: Op) -> None:
    """Block by block: equal axes, axes that are merged, an axis that is split.

    Of split channels the last part is the new channels and the others keep their lengths (the
    groups of a channel shuffle, the heads of an attention). A Flatten merges all axes.
    """
    tensor, out = op.inputs[0], found.out(index)
    given, made = found.graph.shape(tensor), found.graph.shape(out)
    if given[0] != made[0] or op.get("axis", 1) != 1:
        raise Unknown("only a reshape that keeps the batch is known here")
    steps = []
    for block in reshape_blocks(op, given, made):
        holds = found.layout[tensor] in block.given, found.layout[out] in block.made
        if holds[0] != holds[1]:
            raise Unknown("it makes channels of what were none")
        steps.append(_step(found, index, block, with_channels=holds[0]))
    rank = len(found.size(out))
    found.options[index] = tuple(
        Option(sum(price for price, _ in chosen), partial(_reshaped, tuple(steps), maps, rank))
        for chosen in product(*(step.maps for step in steps))
        if (maps := tuple(each for _, each in chosen)) or not steps
    )


def _reshaped(steps: Sequence[_Step], maps: Sequence[_Map], rank: int, size: Size) -> Size | None:
    after = [1] * rank
    for step, each in zip(steps, maps, strict=True):
        lengths = each(tuple(size[place] for place in step.given))
        if lengths is None:
            return None
        for place, length in zip(step.made, lengths, strict=True):
            after[place] = length
    return tuple(after)


def _step(found: Structure, index: int, block: Block, *, with_channels: bool) -> _Step:
    tensor, out = found.graph.ops[index].inputs[0], found.out(index)
    given = _places(found, tensor, block.given)
    made = _places(found, out, block.made)
    if with_channels:
        return _channel_step(found, index, given, made)
    lengths = tuple(found.size(out)[place] for place in made)
    if not given or not made:
        return _Step(given, made, ((0, partial(_ones, len(made))),))
    if len(made) == 1:
        return _Step(given, made, ((0, _product),))
    if len(given) == 1:
        return _Step(given, made, tuple(_splits(lengths)))
    raise Unknown("it splits and merges axes at once")


def _places(found: Structure, tensor: int, axes: Axes) -> _Places:
    """Places in the size of those axes that are no channels."""
    return tuple(found.place(tensor, a) for a in axes if a != found.layout[tensor])


def _channel_step(found: Structure, index: int, given: _Places, made: _Places) -> _Step:
    """Channels alone, channels merged with other axes, or channels split."""
    tensor, out = found.graph.ops[index].inputs[0], found.out(index)
    if given and made:
        raise Unknown("it splits and merges channels at once")
    if not given and not made:
        found.widths.merge((tensor, out))
        return _Step((), (), ((0, _nothing),))
    found.areas.append(Area(index, tensor, given, out, made))
    if given:
        return _Step(given, (), ((0, _nothing),))
    mined = tuple(found.size(out)[place] for place in made)
    kept = [mined]
    if found.freedom.last_resort and len(mined) == 1:
        kept += [(n,) for n in range(mined[0] - 1, 0, -1) if mined[0] % n == 0]
    prices = (round(_GROUPS_HALVED * log2(prod(mined) / prod(lengths))) for lengths in kept)
    maps = (partial(_constant, lengths) for lengths in kept)
    return _Step((), made, tuple(zip(prices, maps, strict=True)))


def _splits(mined: Size) -> Iterator[tuple[int, _Map]]:
    """In proportion, or with all parts but the first as mined."""
    yield 0, partial(_in_proportion, mined)
    yield _ASPECT_CHANGED, partial(_divided, mined[1:])


def _in_proportion(mined: Size, size: Size) -> Size | None:
    if size == (prod(mined),):
        return mined
    if len(mined) != 2:
        return None
    first = isqrt(size[0] * mined[0] // mined[1])
    is_exact = first and size[0] % first == 0 and first * mined[1] == size[0] // first * mined[0]
    return (first, size[0] // first) if is_exact else None


def _divided(rest: Size, size: Size) -> Size | None:
    first, left = divmod(size[0], prod(rest))
    return None if left else (first, *rest)


def _product(size: Size) -> Size:
    return (prod(size),)


def _nothing(size: Size) -> Size:
    return ()


def _constant(lengths: Size, size: Size) -> Size:
    return lengths


def _ones(count: int, size: Size) -> Size | None:
    return (1,) * count if all(n == 1 for n in size) else None


def depth_to_space(found: Structure, index: int, op: Op) -> None:
    """A block of channels becomes a block of pixels."""
    block = int(op.get("blocksize"))
    found.scale_width(index, op.inputs[0], 1, block * block)
    found.options[index] = (Option(0, partial(_grown, block)),)


def space_to_depth(found: Structure, index: int, op: Op) -> None:
    """A block of pixels becomes a block of channels."""
    block = int(op.get("blocksize"))
    found.scale_width(index, op.inputs[0], block * block, 1)
    found.options[index] = (Option(0, partial(_shrunk, block)),)


def _grown(block: int, size: Size) -> Size:
    return tuple(n * block for n in size)


def _shrunk(block: int, size: Size) -> Size | None:
    return None if any(n % block for n in size) else tuple(n // block for n in size)
