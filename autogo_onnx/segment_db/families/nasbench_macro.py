"""NAS-Bench-Macro (Su et al., CVPR 2021): 3^8 chains of identity and MBConv blocks on CIFAR-10.

Rules after github.com/xiusu/NAS-Bench-Macro, train/model.py. Parameters and MACs of all 6,561
networks equal the published ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.family import Family, sampled
from autogo_onnx.segment_db.families.inverted_residual import Block, inverted_residual
from autogo_onnx.segment_db.families.network import Network

NAME = "nasbench_macro"
STAGES = ((2, 64), (3, 128), (3, 256))
_POSITIONS = sum(blocks for blocks, _ in STAGES)


def build(arch: str) -> Network:
    """The network of eight digits: 0 identity, 1 MBConv k3 e3, 2 MBConv k5 e6; input 3x32x32.

    Raises:
        InputError: `arch` is not eight digits of 0, 1, 2.

    >>> build("00000000").parameters()
    387882
    """
    check(arch)
    net = Builder((1, 3, 32, 32))
    x = net.relu(net.conv_bn(0, 32, kernel=3))
    digits = iter(arch)
    for blocks, width in STAGES:
        for position in range(blocks):
            with net.place():
                x = _block(net, x, next(digits), width, stride=1 if position else 2)
    x = net.relu(net.conv_bn(x, 1280))
    return net.network(net.classifier(x, 10))


def check(arch: str) -> None:
    """Raise InputError for what is not eight digits of 0, 1, 2."""
    if len(arch) != _POSITIONS or set(arch) - set("012"):
        raise InputError(f"NAS-Bench-Macro architecture {arch!r} is not {_POSITIONS} digits of 012")


def distinct() -> Iterator[str]:
    """The 3,969 encodings that give different networks, in ascending order.

    Identity blocks after the first of a stage vanish, so only the order of the others counts: an
    encoding stands for its class when its identities come first.
    """
    for digits in product("012", repeat=_POSITIONS):
        arch = "".join(digits)
        if arch == _identities_first(arch):
            yield arch


def _identities_first(arch: str) -> str:
    stages, start = [], 0
    for blocks, _ in STAGES:
        first, rest = arch[start], arch[start + 1 : start + blocks]
        stages.append(first + "".join(sorted(rest, key=lambda digit: digit != "0")))
        start += blocks
    return "".join(stages)


def _block(net: Builder, x: int, digit: str, width: int, stride: int) -> int:
    if digit == "0":
        return x if stride == 1 else net.conv_bn(x, width, stride=stride)
    kernel, expansion = (3, 3) if digit == "1" else (5, 6)
    middle = net.channels(x) * expansion
    return inverted_residual(net, x, Block(width, middle, kernel, stride, Builder.relu))


FAMILY = Family(
    NAME,
    build,
    lambda count, seed: sampled(distinct(), count, seed),
    "Su et al., CVPR 2021, arXiv:2103.11922; github.com/xiusu/NAS-Bench-Macro",
)
