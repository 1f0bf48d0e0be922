"""ResNet-50 and ResNet-101 (He et al., CVPR 2016) for ImageNet, in both forms in use.

The first block of a stage halves the resolution in its first 1x1 convolution as published (v1), or
in its 3x3 convolution as most trained weights have it (v1.5, that of torchvision and timm).
Both have 25,557,032 and 44,549,160 parameters.
"""

from __future__ import annotations

from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.network import Network

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_WIDTHS = (64, 128, 256, 512)
_EXPANSION = 4


def build(height: int, width: int, *, depth: int, as_published: bool = False) -> Network:
    """The network of a depth in `DEPTHS`, for pictures `[1,3,height,width]`: scores `[1,1000]`.

    Args:
        height: a multiple of 32 keeps it in step with the published sizes, as does `width`.
        width: of the pictures.
        depth: layers with weights.
        as_published: v1, else v1.5.

    >>> build(224, 224, depth=50).parameters()
    25557032
    """
    net = Builder((1, 3, height, width))
    x = net.relu(net.conv_bn(0, _WIDTHS[0], kernel=7, stride=2))
    x = net.pool("MaxPool", x, kernel=3, stride=2)
    for stage, (blocks, channels) in enumerate(zip(DEPTHS[depth], _WIDTHS, strict=True)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            strides = (stride, 1) if as_published else (1, stride)
            x = _bottleneck(net, x, channels, strides)
    return net.network(net.classifier(x, 1000))


def _bottleneck(net: Builder, x: int, channels: int, strides: tuple[int, int]) -> int:
    """Narrow, filter, widen, and add the input; `strides` of the first two."""
    wide, stride = channels * _EXPANSION, max(strides)
    y = net.relu(net.conv_bn(x, channels, stride=strides[0]))
    y = net.relu(net.conv_bn(y, channels, kernel=3, stride=strides[1]))
    y = net.conv_bn(y, wide)
    same = net.channels(x) == wide and stride == 1
    return net.relu(net.add(y, x if same else net.conv_bn(x, wide, stride=stride)))
