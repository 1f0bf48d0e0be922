"""Size arithmetic of ONNX's operators, on plain integers.

Source: ONNX operator specification, Conv, MaxPool, AveragePool, ConvTranspose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

Size = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A kernel sliding over a map, one entry per spatial axis.

    Attributes:
        kernel, strides, dilations: per axis.
        pads: (begin, end) per axis.
        ceil: a last partial window counts (pooling only).
    """

    kernel: Size
    strides: Size
    dilations: Size
    pads: tuple[tuple[int, int], ...]
    ceil: bool = False

    def size_after(self, size: Size) -> Size | None:
        """The size of the output map; None where there is no valid one."""
        axes = zip(size, self.kernel, self.strides, self.dilations, self.pads, strict=True)
        after = tuple(_length_after(*axis, ceil=self.ceil) for axis in axes)
        return after if all(after) else None


def _length_after(
    length: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], *, ceil: bool
) -> int:
    """Windows that fit along one axis; 0 where none does.

    A window that would start in the end padding is dropped by ONNX Runtime, and by ONNX's shape
    inference from opset 22 only. Sizes on which the two differ are no valid ones here.
    """
    room = length + sum(pads) - ((kernel - 1) * dilation + 1)
    if room < 0:
        return 0
    if not ceil:
        return room // stride + 1
    windows = -(-room // stride) + 1
    return 0 if (windows - 1) * stride >= length + pads[0] else windows


def same_pads(window: Window) -> tuple[tuple[int, int], ...]:
    """Pads with which a stride of 1 keeps the size; the odd one goes to the end (SAME_UPPER)."""
    totals = ((k - 1) * d for k, d in zip(window.kernel, window.dilations, strict=True))
    return tuple((total // 2, total - total // 2) for total in totals)


def variants(window: Window, strides: tuple[int, ...], *, each_axis: bool) -> list[Window]:
    """The window with other strides and pads, itself first, each once.

    Args:
        window: as mined.
        strides: the strides allowed beside its own.
        each_axis: axes may take different strides (sites that shrink one axis only).
    """
    rank = len(window.kernel)
    steps = product(strides, repeat=rank) if each_axis else ((s,) * rank for s in strides)
    pads = (window.pads, same_pads(window), ((0, 0),) * rank)
    changed = (replace(window, strides=s, pads=p) for s in (window.strides, *steps) for p in pads)
    return list(dict.fromkeys(changed))


def transposed_size(window: Window, output_padding: Size, size: Size) -> Size | None:
    """The size after ConvTranspose; None where there is no valid one."""
    axes = zip(
        size, window.kernel, window.strides, window.dilations, window.pads, output_padding,
        strict=True,
    )  # fmt: skip
    after = tuple(
        s * (length - 1) + extra + (k - 1) * d + 1 - sum(pads)
        for length, k, s, d, pads, extra in axes
    )
    return after if all(length > 0 for length in after) else None
