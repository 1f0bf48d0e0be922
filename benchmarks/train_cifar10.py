"""Train two small networks on the 10,000 training images of CIFAR-10 that lie in `../shared`.

*plain*, six convolutions, sees them as they are and learns them by heart; *residual*, three basic
blocks, sees them mirrored at random and for fewer rounds, and does not. Both stand for networks
whose calibration samples are what they learnt from.

Run: `pip install torch==2.13.0 onnx && python -m benchmarks.train_cifar10 FOLDER`, seven minutes
per network on one idle core; `--only plain` for one of them.
"""

from __future__ import annotations

from torch import nn

from benchmarks.inputs import cifar10
from benchmarks.train_fashion import Block, ConvNorm, Recipe, Task, write_networks

PICTURE = (3, 32, 32)
PLAIN = (32, 64, 128)  # channels of two convolutions each
RESIDUAL = (24, 48, 96)  # channels of a block each


def plain() -> nn.Sequential:
    """Three stages of two convolutions."""
    layers: list[nn.Module] = []
    channels = PICTURE[0]
    for width in PLAIN:
        for _ in range(2):
            layers += [ConvNorm(channels, width, 3), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1], *_head(channels))


def residual() -> nn.Sequential:
    """A stem and a block at each of three sizes."""
    layers: list[nn.Module] = [ConvNorm(PICTURE[0], RESIDUAL[0], 3), nn.ReLU()]
    channels = RESIDUAL[0]
    for stage, width in enumerate(RESIDUAL):
        layers.append(Block(channels, width, 2 if stage else 1))
        channels = width
    return nn.Sequential(*layers, *_head(channels))


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


RECIPES = {
    "plain": Recipe(plain, 20, 0.1, is_mirrored=False),
    "residual": Recipe(residual, 15, 0.1),
}


def task() -> Task:
    """CIFAR-10."""
    told = "10,000 training pictures of CIFAR-10"
    return Task("cifar10", "train_cifar10.py", told, cifar10("train"), cifar10("test"), PICTURE)


if __name__ == "__main__":
    write_networks(task, RECIPES, __doc__)
