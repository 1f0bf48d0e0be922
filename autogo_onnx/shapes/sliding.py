"""Convolutions and pools: the ways to write a window, and the price of leaving the mined one."""

from __future__ import annotations

from functools import lru_cache
from itertools import chain

from autogo_onnx.opgraph import Op
from autogo_onnx.shapes.structure import (
    Freedom,
    Grouped,
    Option,
    Structure,
    Unknown,
    place_price,
)
from autogo_onnx.shapes.upsampling import transposed_options
from autogo_onnx.shapes.windows import Size, Window, same_pads, variants, window_of

# Prices of leaving the mined operator, in the unit of problem.py.
_STRIDE_CHANGED = 1_000_000
_SAMPLES_SKIPPED = 500_000
_PADS_CHANGED = 100_000
_PADS_NEITHER_MINED_NOR_SAME = 200_000


def convolution(found: Structure, index: int, op: Op) -> None:
    """Chooses its width, but a depthwise one follows its input's."""
    if len(op.inputs) != 1:
        raise Unknown("computed weights")
    out, group = found.out(index), op.get("group", 1)
    given, made = found.width(op.inputs[0]), found.width(out)
    if group > 1 and group == given:
        found.scale_width(index, op.inputs[0], made // group, 1)
    else:
        found.choosers.append(index)
        if group > 1:
            found.groups.append(Grouped(index, op.inputs[0], out, group))
    if op.kind == "ConvTranspose":
        found.options[index] = transposed_options(op, index, found.freedom)
    else:
        _slide(found, index, op)


def pool(found: Structure, index: int, op: Op) -> None:
    """A pool over the whole map stays one, whatever the map's size."""
    out, window = found.out(index), window_of(op)
    found.widths.merge((op.inputs[0], out))
    given = found.size(op.inputs[0])
    whole = window.kernel == given and is_one(found.size(out)) and not is_one(given)
    if whole and not any(map(sum, window.pads)):
        found.options[index] = (Option(0, to_one, is_whole_map=True),)
        found.ones[out] = frozenset(range(len(given)))
    else:
        _slide(found, index, op)


@lru_cache(maxsize=4096)  # a few windows make up all segments
def options_of(op: Op, index: int, freedom: Freedom) -> tuple[Option, ...]:
    """Options of a sliding window: strides and pads, the mined ones free of charge.

    `index`: where the operator stands; of equal changes the earliest is the cheapest.
    """
    mined, options = window_of(op), []
    same = same_pads(mined)
    for window in variants(mined, freedom.strides, each_axis=freedom.each_axis):
        is_padded = window.pads in (mined.pads, same)
        if (is_padded or freedom.last_resort) and (op.kind == "Conv" or _is_poolable(window)):
            begins, ends = zip(*window.pads, strict=True)
            attributes = (("strides", window.strides), ("pads", tuple(chain(begins, ends))))
            options.append(Option(_price(mined, window, index), window.size_after, attributes))
    return tuple(options)


def is_one(size: Size) -> bool:
    """Whether a map is 1 along every axis."""
    return all(n == 1 for n in size)


def to_one(size: Size) -> Size:
    """The size after a pool over everything."""
    return (1,) * len(size)


def _slide(found: Structure, index: int, op: Op) -> None:
    found.options[index] = options_of(op, index, found.freedom)
    out = found.out(index)
    if found.is_pooled(op.inputs[0]) and is_one(found.size(out)):
        found.ones[out] = found.ones[op.inputs[0]]


def _is_poolable(window: Window) -> bool:
    """ONNX Runtime refuses pools whose pads are not smaller than the kernel."""
    return all(max(pads) < k for pads, k in zip(window.pads, window.kernel, strict=True))


def _price(mined: Window, window: Window, index: int) -> int:
    price = 0
    if window.strides != mined.strides:
        price += _STRIDE_CHANGED + place_price(index, window.strides)
        if any(s > k for s, k in zip(window.strides, window.kernel, strict=True)):
            price += _SAMPLES_SKIPPED
    if window.pads != mined.pads:
        is_same = window.pads == same_pads(mined)
        price += _PADS_CHANGED if is_same else _PADS_NEITHER_MINED_NOR_SAME
        price += place_price(index, ())
    return price
