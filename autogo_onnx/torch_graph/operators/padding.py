"""Pads of windows, as ONNX spells them, and padding with them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from autogo_onnx.torch_graph.node import Call


def window_pads(
    call: Call, sizes: Sequence[int], kernel: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Pads before and behind per spatial axis, with `auto_pad` worked out.

    Args:
        call: of a convolution or pool.
        sizes: of the input's spatial axes.
        kernel: likewise.
    """
    rank = len(kernel)
    automatic = call.get("auto_pad", "NOTSET")
    if automatic not in ("SAME_UPPER", "SAME_LOWER"):
        pads = call.get("pads", (0,) * (2 * rank)) if automatic == "NOTSET" else (0,) * (2 * rank)
        return list(pads[:rank]), list(pads[rank:])
    strides = call.get("strides", (1,) * rank)
    dilations = call.get("dilations", (1,) * rank)
    total = [
        max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        for size, stride, k, dilation in zip(sizes, strides, kernel, dilations, strict=True)
    ]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return (less, more) if automatic == "SAME_UPPER" else (more, less)


def pad(x: Tensor, begins: Sequence[int], ends: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad (or, where negative, cut) the last axes with a constant."""
    if not any(begins) and not any(ends):
        return x
    sides = [n for pair in zip(reversed(begins), reversed(ends), strict=True) for n in pair]
    return functional.pad(x, sides, value=value)
