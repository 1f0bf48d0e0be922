"""Size arithmetic of ONNX's operators, on plain integers.

Source: ONNX operator specification, Conv, MaxPool, AveragePool, ConvTranspose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from autogo_onnx.opgraph import Op

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
        """The size of the output map; None where there is no valid one.

        A window that would start in the end padding is dropped by ONNX Runtime, and by ONNX's shape
        inference from opset 22 only. Sizes on which the two differ are no valid ones here.
        """
        after = []
        for length, (gain, stride, begin) in zip(size, self._axes, strict=True):
            room = length + gain
            if room < 0:
                return None
            windows = -(-room // stride) if self.ceil else room // stride
            if self.ceil and windows * stride >= length + begin:
                return None
            after.append(windows + 1)
        return tuple(after)

    @cached_property
    def _axes(self) -> tuple[tuple[int, int, int], ...]:
        """Per axis: pads less the kernel's span, stride, pad at the beginning."""
        axes = zip(self.kernel, self.strides, self.dilations, self.pads, strict=True)
        return tuple((sum(p) - (k - 1) * d - 1, s, p[0]) for k, s, d, p in axes)


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
