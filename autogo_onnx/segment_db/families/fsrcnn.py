"""FSRCNN (Dong et al., ECCV 2016): super-resolution of luminance in a narrow network.

FSRCNN(d, s, m): features of d channels, shrunk to s, m mapping layers, expanded to d, and a
transposed convolution that makes the large picture. (56, 12, 4) has 12,464 weights and needs as
many multiply-accumulates per pixel of the small picture; (32, 5, 1), FSRCNN-s, has 3,937. The paper
counts neither biases nor the slopes of the PReLUs, which this network has.
"""

from __future__ import annotations

from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.network import Network

Design = tuple[int, int, int]


def build(height: int, width: int, *, scale: int, design: Design = (56, 12, 4)) -> Network:
    """The network that makes `[1,1,scale*height,scale*width]` of `[1,1,height,width]`.

    Args:
        height: of the small picture.
        width: of the small picture.
        scale: 2, 3 or 4 as published.
        design: (d, s, m).

    >>> build(10, 10, scale=3).macs()
    1246400
    """
    features, shrunk, mappings = design
    net = Builder((1, 1, height, width))
    x = _layer(net, 0, features, kernel=5)
    x = _layer(net, x, shrunk, kernel=1)
    for _ in range(mappings):
        x = _layer(net, x, shrunk, kernel=3)
    x = _layer(net, x, features, kernel=1)
    return net.network(net.transposed(x, 1, kernel=9, stride=scale, bias=True))


def _layer(net: Builder, x: int, channels: int, *, kernel: int) -> int:
    """A PReLU stands behind every convolution but the transposed one."""
    return net.unary("PRelu", net.conv(x, channels, kernel=kernel, bias=True))
