"""The ways to write a sliding window (convolution, pooling), and the price of leaving the mined."""

from __future__ import annotations

from autogo_onnx.opgraph import Op
from autogo_onnx.shapes.structure import Freedom, Option
from autogo_onnx.shapes.windows import Window, same_pads, variants

# Prices of leaving the mined operator, in the unit of problem.Target: 1000 * 1000 is a width
# changed by its own size.
_STRIDE_CHANGED = 1_000_000
_SAMPLES_SKIPPED = 500_000
_PADS_CHANGED = 100_000
_PADS_NEITHER_MINED_NOR_SAME = 200_000
_PER_PLACE = 50


def window_of(op: Op) -> Window:
    """The window that an operator's attributes say."""
    kernel = tuple(op.get("kernel_shape"))
    rank = len(kernel)
    pads = op.get("pads", (0,) * 2 * rank)
    return Window(
        kernel,
        tuple(op.get("strides", (1,) * rank)),
        tuple(op.get("dilations", (1,) * rank)),
        tuple(zip(pads[:rank], pads[rank:], strict=True)),
        bool(op.get("ceil_mode", 0)),
    )


def options_of(op: Op, index: int, freedom: Freedom) -> tuple[Option, ...]:
    """Options of a sliding window: strides and pads, the mined ones free of charge.

    `index`: where the operator stands; of equal changes the earliest is the cheapest.
    """
    mined, options = window_of(op), []
    for window in variants(mined, freedom.strides, each_axis=freedom.each_axis):
        is_padded = window.pads in (mined.pads, same_pads(mined))
        if (is_padded or freedom.unpadded) and (op.kind == "Conv" or _is_poolable(window)):
            options.append(Option(_price(mined, window, index), window.size_after, window))
    return tuple(options)


def _is_poolable(window: Window) -> bool:
    """ONNX Runtime refuses pools whose pads are not smaller than the kernel."""
    return all(max(pads) < k for pads, k in zip(window.pads, window.kernel, strict=True))


def _price(mined: Window, window: Window, index: int) -> int:
    """A changed stride costs a little more the later it comes: early ones save MACs."""
    price = 0
    if window.strides != mined.strides:
        price += _STRIDE_CHANGED + _PER_PLACE * index * (index + 1)
        if any(s > k for s, k in zip(window.strides, window.kernel, strict=True)):
            price += _SAMPLES_SKIPPED
    if window.pads != mined.pads:
        is_same = window.pads == same_pads(mined)
        price += _PADS_CHANGED if is_same else _PADS_NEITHER_MINED_NOR_SAME
        price += _PER_PLACE * index * (index + 1)
    return price
