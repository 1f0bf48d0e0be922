"""The denoising U-Net of Noise2Noise (Lehtinen et al., ICML 2018, table 2 of its appendix).

Five poolings, 48 channels on the way down and 96 on the way up, nearest-neighbour upsampling, leaky
rectifiers, no batch normalization; no activation at the end. Layers after
github.com/NVlabs/noise2noise, network.py. 991,203 parameters for colour pictures.
"""

from __future__ import annotations

from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.network import Network

LEVELS = 5
_COLOURS, _DOWN, _UP, _LAST = 3, 48, 96, (64, 32)
_SLOPE = 0.1


def build(height: int, width: int) -> Network:
    """The network from noisy to clean pictures `[1,3,height,width]`, in multiples of 32.

    >>> build(64, 64).graph.output_shapes
    ((1, 3, 64, 64),)
    """
    net = Builder((1, _COLOURS, height, width))
    skips = [0]
    x = _conv(net, 0, _DOWN)
    for _ in range(LEVELS):
        x = net.pool("MaxPool", _conv(net, x, _DOWN), kernel=2, stride=2)
        skips.append(x)
    x = _conv(net, skips.pop(), _DOWN)
    while skips:
        x = net.concat(_upsample(net, x), skips.pop())
        for channels in (_UP, _UP) if skips else _LAST:
            x = _conv(net, x, channels)
    return net.network(net.conv(x, _COLOURS, kernel=3, bias=True))


def _conv(net: Builder, x: int, channels: int) -> int:
    made = net.conv(x, channels, kernel=3, bias=True)
    return net.unary("LeakyRelu", made, alpha=_SLOPE)


def _upsample(net: Builder, x: int) -> int:
    """Every pixel four times."""
    batch, channels, height, width = net.shape(x)
    return net.op(
        "Resize",
        (x,),
        (batch, channels, 2 * height, 2 * width),
        coordinate_transformation_mode="asymmetric",
        mode="nearest",
        nearest_mode="floor",
    )
