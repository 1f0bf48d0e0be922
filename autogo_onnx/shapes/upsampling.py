"""Transposed convolutions and resizes: factors, pads and output paddings as choices.

Source: ONNX operator specification, ConvTranspose and Resize.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, product
from math import log2

from autogo_onnx.opgraph import AttributeValue, Op
from autogo_onnx.shapes.structure import Freedom, Option, Structure, Unknown, place_price
from autogo_onnx.shapes.windows import Size, Window, transposed_size, window_of

# In the unit of problem.py.
_STRIDE_CHANGED = 500_000  # less than that of a convolution, which would then shrink it again
_PADS_CHANGED = 100_000
_OUTPUT_PADDING_CHANGED = 20_000
_FACTOR_DOUBLED = 500_000
_OTHER_FACTORS = (1, 2, 3, 4)


@dataclass(frozen=True)
class _Transposed:
    """How a ConvTranspose is written."""

    window: Window
    output_padding: Size

    def size_after(self, size: Size) -> Size | None:
        return transposed_size(self.window, self.output_padding, size)

    def is_valid(self) -> bool:
        """ONNX Runtime wants output paddings that are smaller than the strides."""
        return all(e < s for e, s in zip(self.output_padding, self.window.strides, strict=True))


def transposed_options(op: Op, index: int, freedom: Freedom) -> tuple[Option, ...]:
    """Ways to write a ConvTranspose: strides, pads that then multiply the size, output padding.

    `index`: where the operator stands.
    """
    window = window_of(op)
    rank = len(window.kernel)
    mined = _Transposed(window, tuple(op.get("output_padding", (0,) * rank)))
    ways = [mined]
    for strides in (window.strides, *((s,) * rank for s in freedom.strides)):
        other = replace(window, strides=strides)
        extras = (mined.output_padding, *product(*(range(s) for s in strides)))
        ways += [
            _Transposed(replace(other, pads=pads), extra)
            for pads, extra in product((window.pads, *_multiplying(other)), extras)
        ]
    return tuple(
        Option(_price(mined, way, index), way.size_after, _attributes(op, way))
        for way in dict.fromkeys(ways)
        if way == mined or way.is_valid()
    )


def _multiplying(window: Window) -> Iterator[tuple[tuple[int, int], ...]]:
    """Pads with which the size is multiplied by the stride, and those that take off the most.

    The output padding gives back what the latter take, so that every size that rounds up to the
    multiple can be had.
    """
    spans = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations, strict=True)]
    for totals in (
        [max(0, span - s) for span, s in zip(spans, window.strides, strict=True)],
        [span - 1 for span in spans],
    ):
        yield tuple((total // 2, total - total // 2) for total in totals)


def _price(mined: _Transposed, way: _Transposed, index: int) -> int:
    price = 0
    if way.window.strides != mined.window.strides:
        price += _STRIDE_CHANGED + place_price(index, way.window.strides)
    if way.window.pads != mined.window.pads:
        price += _PADS_CHANGED + place_price(index, tuple(map(sum, way.window.pads)))
    if way.output_padding != mined.output_padding:
        price += _OUTPUT_PADDING_CHANGED * (1 + sum(way.output_padding))
        price += place_price(index, way.output_padding)
    return price


def _attributes(op: Op, way: _Transposed) -> tuple[tuple[str, AttributeValue], ...]:
    begins, ends = zip(*way.window.pads, strict=True)
    window = (("strides", way.window.strides), ("pads", tuple(chain(begins, ends))))
    if any(way.output_padding) or op.get("output_padding"):
        return (*window, ("output_padding", way.output_padding))
    return window


def resize(found: Structure, index: int, op: Op) -> None:
    """Up or down by whole numbers: the mined ones, or others that are the same for all axes."""
    out = found.out(index)
    given, made = found.size(op.inputs[0]), found.size(out)
    if len(op.inputs) != 1 or found.width(op.inputs[0]) != found.width(out):
        raise Unknown("only a resize of the picture by a fixed factor is known here")
    up = tuple(max(1, b // a) for a, b in zip(given, made, strict=True))
    down = tuple(max(1, a // b) for a, b in zip(given, made, strict=True))
    if _scaled(up, down, given) != made:
        raise Unknown("only a resize by whole numbers is known here")
    found.widths.merge((op.inputs[0], out))
    rank, change = len(given), _doublings(up, down)
    others = [((f,) * rank, (1,) * rank) for f in _OTHER_FACTORS]
    others += [((1,) * rank, (f,) * rank) for f in _OTHER_FACTORS[1:]]
    found.options[index] = tuple(
        Option(_resize_price(_doublings(*pair) - change, index), partial(_scaled, *pair))
        for pair in dict.fromkeys([(up, down), *others])
    )


def _resize_price(change: float, index: int) -> int:
    if not change:
        return 0
    return round(_FACTOR_DOUBLED * abs(change)) + place_price(index, (round(8 * (change + 8)),))


def _scaled(up: Size, down: Size, size: Size) -> Size | None:
    if any(n * u % d for n, u, d in zip(size, up, down, strict=True)):
        return None
    return tuple(n * u // d for n, u, d in zip(size, up, down, strict=True))


def _doublings(up: Size, down: Size) -> float:
    """By how many factors of two a map grows, as the mean of its axes."""
    return sum(log2(u / d) for u, d in zip(up, down, strict=True)) / max(1, len(up))
