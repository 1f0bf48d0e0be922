"""The block of MobileNets and EfficientNets: expand, filter by channel, squeeze-excite, project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autogo_onnx.segment_db.families.builder import Builder

Activation = Callable[[Builder, int], int]


@dataclass(frozen=True)
class Block:
    """An inverted residual.

    Attributes:
        width: channels that it gives.
        middle: channels between expansion and projection; no expansion when it gets as many.
        kernel: extent of the depthwise convolution.
        stride: of the depthwise convolution.
        activation: after expansion and depthwise convolution.
        excite: what follows the depthwise convolution; see `squeeze_excite`.
    """

    width: int
    middle: int
    kernel: int
    stride: int
    activation: Activation
    excite: Activation | None = None


def inverted_residual(net: Builder, x: int, block: Block) -> int:
    """Append the block; its input is added to its output where shapes allow."""
    y = x
    if block.middle != net.channels(x):
        y = block.activation(net, net.conv_bn(y, block.middle))
    y = net.batch_norm(net.depthwise(y, kernel=block.kernel, stride=block.stride))
    y = block.activation(net, y)
    if block.excite is not None:
        y = block.excite(net, y)
    y = net.conv_bn(y, block.width)
    return net.add(x, y) if net.shape(x) == net.shape(y) else y


def squeeze_excite(width: int, activation: Activation, gate: Activation) -> Activation:
    """Scale channels by what their averages say, through a bottleneck of `width` channels."""

    def excite(net: Builder, x: int) -> int:
        y = activation(net, net.conv(net.global_pool(x), width, bias=True))
        return net.mul(x, gate(net, net.conv(y, net.channels(x), bias=True)))

    return excite


def silu(net: Builder, x: int) -> int:
    """The input times its sigmoid, in the two operators that every opset has."""
    return net.mul(x, net.unary("Sigmoid", x))


def sigmoid(net: Builder, x: int) -> int:
    """Logistic function."""
    return net.unary("Sigmoid", x)


def hard_swish(net: Builder, x: int) -> int:
    """The input times its hard sigmoid."""
    return net.unary("HardSwish", x)


def hard_sigmoid(net: Builder, x: int) -> int:
    """A sixth of the input plus 3, clipped to 0..1."""
    return net.unary("HardSigmoid", x, alpha=1 / 6, beta=0.5)


def divisible_by_8(channels: int) -> int:
    """The nearest multiple of 8 that is not below 90 % of a number of channels.

    >>> [divisible_by_8(channels) for channels in (4, 18, 30, 36, 60)]
    [8, 24, 32, 40, 64]
    """
    nearest = max(8, (channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
