"""VGG-16 (Simonyan and Zisserman, ICLR 2015, configuration D) for ImageNet; with batch norm too."""

from __future__ import annotations

from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.network import Network

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_HIDDEN = 4096


def build(height: int, width: int, *, batch_norm: bool = False) -> Network:
    """The network for pictures `[1,3,height,width]`: scores `[1,1000]`.

    The first linear layer reads every pixel, so that its weights follow the size: 138,357,544
    parameters are those of the published 224x224.

    >>> build(224, 224).parameters()
    138357544
    """
    net = Builder((1, 3, height, width))
    x = 0
    for channels, convolutions in _STAGES:
        for _ in range(convolutions):
            x = net.conv(x, channels, kernel=3, bias=True)
            x = net.relu(net.batch_norm(x) if batch_norm else x)
        x = net.pool("MaxPool", x, kernel=2, stride=2)
    for _ in range(2):
        x = net.dropout(net.relu(net.linear(x, _HIDDEN)))
    return net.network(net.linear(x, 1000))
