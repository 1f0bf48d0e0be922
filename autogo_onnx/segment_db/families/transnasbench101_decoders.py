"""What TransNAS-Bench-101 puts behind an encoder, by task: the decoders as the benchmark has them.

Rules after github.com/yawen-d/TransNASBench, lib/models/task_models/decoder.py; numbers of classes
after github.com/automl/NASLib (100 and 63; the benchmark's training configuration has 75 and 47 for
class_object and class_scene, a difference of the last layer's width alone).

The discriminator with which normal and autoencoder were trained is no part of the network.
"""

from __future__ import annotations

from autogo_onnx.segment_db.families.builder import Builder

IMAGE = (1, 3, 256, 256)
TILES = (1, 9, 3, 64, 64)
_SIZE = IMAGE[2]
_LABELS = 17
_FEATURES = {"class_object": 100, "class_scene": 63, "room_layout": 9}
_PERMUTATIONS = 1000
_NEVER = 7
# Width of every layer, and from how many doublings of the resolution on it doubles it.
_GENERATOR = (
    *((1024, _NEVER), (1024, _NEVER), (512, 6), (512, _NEVER), (256, 5), (128, _NEVER)),
    *((64, 4), (64, _NEVER), (32, 3), (32, _NEVER), (16, 2), (32, _NEVER), (16, 2)),
)

TASKS = (*_FEATURES, "jigsaw", "segmentsemantic", "normal", "autoencoder")


def start(task: str) -> tuple[Builder, int]:
    """A network that has only its input yet, and the images of it.

    Input `[1,3,256,256]`; for jigsaw `[1,9,3,64,64]`, whose nine tiles go through one encoder.
    """
    if task != "jigsaw":
        return Builder(IMAGE), 0
    net = Builder(TILES)
    return net, net.op("Reshape", (0,), TILES[1:])


def decode(net: Builder, x: int, task: str) -> int:
    """Append the decoder of one of `TASKS` to an encoder's output `[N,C,H,H]`.

    Output `[1,100]`, `[1,63]`, `[1,9]`, `[1,1000]` (which permutation of the tiles),
    `[1,17,256,256]` or, of normal and autoencoder, `[1,3,256,256]`.
    """
    if task in _FEATURES:
        return net.classifier(x, _FEATURES[task])
    if task == "jigsaw":
        pooled = net.global_pool(x)
        tiles, width, *_ = net.shape(pooled)
        return net.linear(net.op("Reshape", (pooled,), (1, tiles * width)), _PERMUTATIONS)
    return _segmentation(net, x) if task == "segmentsemantic" else _generator(net, x)


def _segmentation(net: Builder, x: int) -> int:
    """Seven layers from 1024 channels down to 16 or 32, which end at the image's resolution."""
    doublings, width = _doublings(net, x), 1024
    x = _layer(net, x, width)
    for layer in range(5):
        width //= 2
        x = _layer(net, x, width, doubles=layer >= 6 - doublings)
    return net.conv(_layer(net, x, width, doubles=True), _LABELS, kernel=3, bias=True)


def _generator(net: Builder, x: int) -> int:
    """Fourteen layers, the same widths for every encoder."""
    doublings = _doublings(net, x)
    for width, least in _GENERATOR:
        x = _layer(net, x, width, doubles=doublings >= least)
    return net.unary("Tanh", net.conv(x, IMAGE[1], kernel=3, bias=True))


def _doublings(net: Builder, x: int) -> int:
    """How often the resolution is to be doubled: 3 to 6 times, from 32 to 4 pixels."""
    return (_SIZE // net.shape(x)[2]).bit_length() - 1


def _layer(net: Builder, x: int, width: int, *, doubles: bool = False) -> int:
    if doubles:
        x = net.transposed(x, width, kernel=3, stride=2, bias=True)
    else:
        x = net.conv(x, width, kernel=3, bias=True)
    return net.unary("LeakyRelu", net.batch_norm(x), alpha=0.2)
