"""The MnasNet/EfficientNet space of Accel-NASBench (Ahmad et al., DATE 2024): seven MBConv stages.

Rules after github.com/afzalxo/ANB-DatasetCollection, models/accelbenchnet.py, with the activation
trained there (SiLU; its FPGA variants have ReLU) and the squeeze a quarter of the width that goes
into a block. Parameters and MACs of all 5,138 published networks equal the published ones (whose
MACs add 4 for every value of a batch normalization, 1 for every value into or out of a pool).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.family import Family, drawn
from autogo_onnx.segment_db.families.inverted_residual import (
    Block,
    inverted_residual,
    sigmoid,
    silu,
    squeeze_excite,
)
from autogo_onnx.segment_db.families.network import Network

NAME = "accel_nasbench"
WIDTHS = (16, 24, 40, 80, 112, 192, 320)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_STEM_WIDTH = 32
EXPANSIONS, KERNELS, EXCITED = (1, 4, 6), (3, 5), (0, 1)
# The sixth stage may have four, as EfficientNet-B0 has.
LAYERS = ((1, 2, 3),) * 5 + ((1, 2, 3, 4), (1, 2, 3))
_EVERY = len(WIDTHS)
_CHOICES = ((EXPANSIONS,) * _EVERY, (KERNELS,) * _EVERY, LAYERS, (EXCITED,) * _EVERY)


@dataclass(frozen=True)
class Stage:
    """Expansion and kernel of a stage's blocks, their number, whether they squeeze and excite."""

    expansion: int
    kernel: int
    layers: int
    excited: int


def parse(code: str) -> tuple[Stage, ...]:
    """Stages of `expansions:kernels:layers:excited`, each seven numbers joined by `-`.

    Raises:
        InputError: the text does not read so.
    """
    columns = [column.split("-") for column in code.split(":")]
    if len(columns) != len(_CHOICES) or any(
        len(column) != len(WIDTHS) or not all(map(_is_choice, column, choices))
        for column, choices in zip(columns, _CHOICES, strict=True)
    ):
        raise InputError(
            f"MBConv network {code!r} does not read expansions:kernels:layers:excited with seven"
            f" numbers each, joined by '-', of {EXPANSIONS}, {KERNELS}, {LAYERS[0]} (sixth:"
            f" {LAYERS[5]}) and {EXCITED}"
        )
    return tuple(Stage(*map(int, row)) for row in zip(*columns, strict=True))


def build(code: str, *, size: int = 224) -> Network:
    """The network of seven stages: input `[1,3,size,size]`, output `[1,1000]`.

    Raises:
        InputError: the text is no network of the family.

    >>> efficientnet_b0 = "1-6-6-6-6-6-6:3-3-5-3-5-5-3:1-2-2-3-3-4-1:1-1-1-1-1-1-1"
    >>> build(efficientnet_b0).parameters()
    5288548
    """
    stages = parse(code)
    net = Builder((1, 3, size, size))
    x = silu(net, net.conv_bn(0, _STEM_WIDTH, kernel=3, stride=2))
    for stage, width, first_stride in zip(stages, WIDTHS, _STRIDES, strict=True):
        with net.place():
            for layer in range(stage.layers):
                stride = 1 if layer else first_stride
                x = inverted_residual(net, x, _block(stage, net.channels(x), width, stride))
    x = silu(net, net.conv_bn(x, 4 * WIDTHS[-1]))
    x = net.dropout(net.global_pool(x))
    return net.network(net.linear(x, 1000))


def _block(stage: Stage, before: int, width: int, stride: int) -> Block:
    excite = squeeze_excite(before // 4, silu, sigmoid) if stage.excited else None
    return Block(width, before * stage.expansion, stage.kernel, stride, silu, excite)


def _is_choice(text: str, choices: tuple[int, ...]) -> bool:
    return text in map(str, choices)


def _draw(rng: random.Random) -> str:
    return ":".join("-".join(str(rng.choice(c)) for c in column) for column in _CHOICES)


FAMILY = Family(
    NAME,
    build,
    lambda count, seed: drawn(_draw, count, seed),
    "Ahmad et al., DATE 2024, arXiv:2404.08005; github.com/afzalxo/Accel-NASBench",
)
