"""Once-for-all MobileNetV3 (Cai et al., ICLR 2020), width 1.0: five stages of 2 to 4 blocks.

Rules after github.com/mit-han-lab/once-for-all, ofa/imagenet_classification/elastic_nn/networks/
ofa_mbv3.py. Every block chooses its kernel (3, 5, 7) and its expansion (3, 4, 6), the input its
size (128 to 224 by steps of 4). Parameters and MACs of two published specialized networks are as
published, to the digits given.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.family import Family, drawn
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

NAME = "ofa_mobilenetv3"
KERNELS, EXPANSIONS, DEPTHS, SIZES = (3, 5, 7), (3, 4, 6), (2, 3, 4), range(128, 225, 4)


@dataclass(frozen=True)
class _Stage:
    """Width and first stride of a stage, its activation, whether it squeezes and excites."""

    width: int
    stride: int
    activation: Activation
    excited: bool


_STAGES = (
    _Stage(24, 2, Builder.relu, False),
    _Stage(40, 2, Builder.relu, True),
    _Stage(80, 2, hard_swish, False),
    _Stage(112, 1, hard_swish, True),
    _Stage(160, 2, hard_swish, True),
)

Choice = tuple[int, int]


def parse(code: str) -> tuple[tuple[tuple[Choice, ...], ...], int]:
    """Kernel and expansion of the blocks by stage, and the size of the input.

    The code reads `k3e4,k5e6,...|k3e3,...|...@224`, five stages.

    Raises:
        InputError: the text does not read so, or has other numbers than the family.
    """
    body, _, size = code.partition("@")
    stages = [
        [re.fullmatch(r"k([357])e([346])", block) for block in stage.split(",")]
        for stage in body.split("|")
    ]
    if (
        len(stages) != len(_STAGES)
        or size not in map(str, SIZES)
        or any(len(stage) not in DEPTHS or None in stage for stage in stages)
    ):
        raise InputError(
            f"OFA MobileNetV3 {code!r} does not read k3e4,k5e6|...@224: five stages of {DEPTHS}"
            f" blocks, kernels {KERNELS}, expansions {EXPANSIONS}, size 128 to 224 by 4"
        )
    return tuple(
        tuple((int(block[1]), int(block[2])) for block in stage if block) for stage in stages
    ), int(size)


def build(code: str) -> Network:
    """The network of a code: input `[1,3,size,size]`, output `[1,1000]`.

    Raises:
        InputError: the text is no network of the family.
    """
    stages, size = parse(code)
    net = Builder((1, 3, size, size))
    x = hard_swish(net, net.conv_bn(0, 16, kernel=3, stride=2))
    x = inverted_residual(net, x, Block(16, 16, 3, 1, Builder.relu))
    for stage, blocks in zip(_STAGES, stages, strict=True):
        for position, (kernel, expansion) in enumerate(blocks):
            middle = net.channels(x) * expansion
            stride = 1 if position else stage.stride
            excite = _excite(middle) if stage.excited else None
            block = Block(stage.width, middle, kernel, stride, stage.activation, excite)
            x = inverted_residual(net, x, block)
    x = net.global_pool(hard_swish(net, net.conv_bn(x, 960)))
    x = hard_swish(net, net.conv(x, 1280))
    return net.network(net.linear(net.dropout(x), 1000))


def code_of(stages: tuple[tuple[Choice, ...], ...], size: int) -> str:
    """The text of kernels and expansions by stage.

    >>> code_of((((3, 4), (5, 6)), ((7, 6), (3, 3))), 224)
    'k3e4,k5e6|k7e6,k3e3@224'
    """
    texts = (",".join(f"k{kernel}e{expansion}" for kernel, expansion in s) for s in stages)
    return f"{'|'.join(texts)}@{size}"


def _excite(middle: int) -> Activation:
    return squeeze_excite(divisible_by_8(middle // 4), Builder.relu, hard_sigmoid)


def _draw(rng: random.Random) -> str:
    stages = tuple(
        tuple((rng.choice(KERNELS), rng.choice(EXPANSIONS)) for _ in range(rng.choice(DEPTHS)))
        for _ in _STAGES
    )
    return code_of(stages, rng.choice(SIZES))


FAMILY = Family(
    NAME,
    build,
    lambda count, seed: drawn(_draw, count, seed),
    "Cai et al., ICLR 2020, arXiv:1908.09791; github.com/mit-han-lab/once-for-all",
)
