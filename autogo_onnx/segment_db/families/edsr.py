"""EDSR's baseline for super-resolution (Lim et al., CVPR workshops 2017): 16 blocks of 64 channels.

1,369,859 parameters for x2, 1,554,499 for x3, 1,517,571 for x4. The mean colour is subtracted
before and added after the network, as the paper has it. The baseline scales no residuals.
"""

from __future__ import annotations

from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.network import Network

_BLOCKS, _WIDTH, _COLOURS = 16, 64, 3
# x4 is x2 twice, as published.
_STEPS = {2: (2,), 3: (3,), 4: (2, 2)}


def build(height: int, width: int, *, scale: int) -> Network:
    """The network that makes `[1,3,scale*height,scale*width]` of `[1,3,height,width]`.

    Args:
        height: of the small picture.
        width: of the small picture.
        scale: 2, 3 or 4.

    >>> build(48, 48, scale=2).parameters()
    1369859
    """
    net = Builder((1, _COLOURS, height, width))
    first = x = _conv(net, 0, _WIDTH)
    for _ in range(_BLOCKS):
        x = net.add(_conv(net, net.relu(_conv(net, x, _WIDTH)), _WIDTH), x)
    x = net.add(_conv(net, x, _WIDTH), first)
    for step in _STEPS[scale]:
        x = _shuffle(net, _conv(net, x, _WIDTH * step**2), step)
    return net.network(_conv(net, x, _COLOURS))


def _conv(net: Builder, x: int, channels: int) -> int:
    return net.conv(x, channels, kernel=3, bias=True)


def _shuffle(net: Builder, x: int, step: int) -> int:
    """Sub-pixel convolution's second half: a channel of `step**2` becomes a pixel of as many."""
    batch, channels, height, width = net.shape(x)
    shape = (batch, channels // step**2, height * step, width * step)
    return net.op("DepthToSpace", (x,), shape, blocksize=step, mode="CRD")
