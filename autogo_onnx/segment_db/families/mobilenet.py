"""MobileNetV2 (Sandler et al., CVPR 2018) and MobileNetV3 (Howard et al., ICCV 2019), ImageNet.

Tables 2 of the first, 1 and 2 of the second paper; widths of squeeze-and-excite, and paddings, as
in torchvision, whose parameters these have: 3,504,872, and 5,483,032 (large), 2,542,856 (small).
"""

from __future__ import annotations

from typing import NamedTuple

from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.inverted_residual import (
    Activation,
    Block,
    divisible_by_8,
    hard_sigmoid,
    hard_swish,
    inverted_residual,
    squeeze_excite,
)
from autogo_onnx.segment_db.families.network import Network

# Expansion, channels, repetitions, stride of the first.
_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class _Row(NamedTuple):
    """A row of the paper's tables; `act` is RE (Relu) or HS (HardSwish)."""

    kernel: int
    expanded: int
    channels: int
    squeezes: bool
    act: str
    stride: int


_LARGE = (
    _Row(3, 16, 16, False, "RE", 1),
    _Row(3, 64, 24, False, "RE", 2),
    _Row(3, 72, 24, False, "RE", 1),
    _Row(5, 72, 40, True, "RE", 2),
    _Row(5, 120, 40, True, "RE", 1),
    _Row(5, 120, 40, True, "RE", 1),
    _Row(3, 240, 80, False, "HS", 2),
    _Row(3, 200, 80, False, "HS", 1),
    _Row(3, 184, 80, False, "HS", 1),
    _Row(3, 184, 80, False, "HS", 1),
    _Row(3, 480, 112, True, "HS", 1),
    _Row(3, 672, 112, True, "HS", 1),
    _Row(5, 672, 160, True, "HS", 2),
    _Row(5, 960, 160, True, "HS", 1),
    _Row(5, 960, 160, True, "HS", 1),
)
_SMALL = (
    _Row(3, 16, 16, True, "RE", 2),
    _Row(3, 72, 24, False, "RE", 2),
    _Row(3, 88, 24, False, "RE", 1),
    _Row(5, 96, 40, True, "HS", 2),
    _Row(5, 240, 40, True, "HS", 1),
    _Row(5, 240, 40, True, "HS", 1),
    _Row(5, 120, 48, True, "HS", 1),
    _Row(5, 144, 48, True, "HS", 1),
    _Row(5, 288, 96, True, "HS", 2),
    _Row(5, 576, 96, True, "HS", 1),
    _Row(5, 576, 96, True, "HS", 1),
)
# Rows, and width of the hidden linear layer.
_V3 = {"large": (_LARGE, 1280), "small": (_SMALL, 1024)}
_ACTIVATIONS: dict[str, Activation] = {"RE": Builder.relu, "HS": hard_swish}


def build_v2(height: int, width: int) -> Network:
    """MobileNetV2 of width 1 for pictures `[1,3,height,width]`: scores `[1,1000]`.

    >>> build_v2(224, 224).parameters()
    3504872
    """
    net = Builder((1, 3, height, width))
    x = net.relu6(net.conv_bn(0, 32, kernel=3, stride=2))
    for expansion, channels, repetitions, first_stride in _V2:
        for repetition in range(repetitions):
            stride = 1 if repetition else first_stride
            middle = expansion * net.channels(x)
            x = inverted_residual(net, x, Block(channels, middle, 3, stride, Builder.relu6))
    x = net.relu6(net.conv_bn(x, 1280))
    return net.network(net.linear(net.dropout(net.global_pool(x)), 1000))


def build_v3(height: int, width: int, *, variant: str) -> Network:
    """MobileNetV3 of width 1 for pictures `[1,3,height,width]`: scores `[1,1000]`.

    Args:
        height: of the pictures.
        width: of the pictures.
        variant: `large` or `small`.

    >>> build_v3(224, 224, variant="small").parameters()
    2542856
    """
    rows, hidden = _V3[variant]
    net = Builder((1, 3, height, width), epsilon=1e-3)
    x = hard_swish(net, net.conv_bn(0, 16, kernel=3, stride=2))
    for row in rows:
        x = inverted_residual(net, x, _block(row))
    x = hard_swish(net, net.conv_bn(x, 6 * net.channels(x)))
    x = hard_swish(net, net.linear(net.global_pool(x), hidden))
    return net.network(net.linear(net.dropout(x), 1000))


def _block(row: _Row) -> Block:
    """The bottleneck of squeeze-and-excite is a quarter as wide as what it scales."""
    squeezed = divisible_by_8(row.expanded // 4)
    excite = squeeze_excite(squeezed, Builder.relu, hard_sigmoid) if row.squeezes else None
    activation = _ACTIVATIONS[row.act]
    return Block(row.channels, row.expanded, row.kernel, row.stride, activation, excite)
