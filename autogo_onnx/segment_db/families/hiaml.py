"""HiAML (Mills et al., AAAI 2023): four stages, in each one of 14 blocks twice, on CIFAR-10.

Rules after github.com/Ascend-Research/GENNAPE and github.com/Ascend-Research/AutoGO, in the form of
their computation graphs: TensorFlow's padding, plain rectifiers outside the factorized
convolutions, convolutions without bias. 14^4 = 38,416 networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.family import Family, sampled
from autogo_onnx.segment_db.families.network import Network

NAME = "hiaml"
_STAGES = ((64, 1), (128, 2), (128, 1), (256, 2))
_REPEATS = 2


def build(code: str) -> Network:
    """The network of four block names, as `src1-src1-r30-src3`; input `[1,3,32,32]`.

    Raises:
        InputError: `code` is not four names of `BLOCKS`.

    >>> build("src1-src1-r30-src3").parameters()
    2220746
    """
    names = code.split("-")
    if len(names) != len(_STAGES) or set(names) - set(BLOCKS):
        raise InputError(
            f"HiAML architecture {code!r} is not {len(_STAGES)} names, joined by '-', of "
            + ", ".join(BLOCKS)
        )
    net = Builder((1, 3, 32, 32), same_upper=True, epsilon=1e-3)
    x = net.relu(net.conv_bn(0, 64, kernel=3, stride=2))
    for name, (width, stride) in zip(names, _STAGES, strict=True):
        for repeat in range(_REPEATS):
            x = add_block(net, x, name, width, stride if repeat == 0 else 1)
    return net.network(net.classifier(x, 10))


def distinct() -> Iterator[str]:
    """All 38,416 codes in the order of `BLOCKS`; no two give the same network."""
    return ("-".join(names) for names in product(BLOCKS, repeat=len(_STAGES)))


def add_block(net: Builder, x: int, name: str, width: int, stride: int) -> int:
    """Append one block; every block ends with a rectifier."""
    return net.relu(BLOCKS[name](_Block(net, x, width, stride)))


class _Block:
    """What the blocks are written with; every call appends operators with weights of their own."""

    def __init__(self, net: Builder, x: int, width: int, stride: int) -> None:
        self.net = net
        self.x = x
        self.width = width
        self.stride = stride

    def conv(self, x: int, kernel: int = 1, stride: int = 1) -> int:
        """Convolution and batch normalization."""
        return self.net.conv_bn(x, self.width, kernel=kernel, stride=stride)

    def conv_relu(self, x: int, kernel: int = 1, stride: int = 1) -> int:
        """Convolution, batch normalization and rectifier."""
        return self.net.relu(self.conv(x, kernel, stride))

    def inner_conv_relu(self, kernel: int) -> int:
        """The same on the block's input, at the width of that input."""
        net = self.net
        return net.relu(net.conv_bn(self.x, net.channels(self.x), kernel=kernel))

    def factorized(self, x: int, stride: int = 1) -> int:
        """A 3x3 convolution as 1x3 and 3x1; the first has the stride, in both directions."""
        net = self.net
        x = net.relu6(net.conv_bn(x, self.width, kernel=(1, 3), stride=stride))
        return net.relu6(net.conv_bn(x, self.width, kernel=(3, 1)))

    def shortcut(self) -> int:
        """The block's input, projected where its shape is another one than the block's."""
        if self.stride == 1 and self.net.channels(self.x) == self.width:
            return self.x
        return self.conv(self.x, stride=self.stride)

    def add(self, *terms: int) -> int:
        """Sum from the left."""
        return self.net.add(*terms)


def _z(b: _Block) -> int:
    a = b.conv_relu(b.x, 3, b.stride)
    return b.add(a, b.factorized(a))


def _a22(b: _Block) -> int:
    a = b.conv_relu(b.x, 3, b.stride)
    return b.add(a, b.conv(b.conv_relu(a)))


def _b23(b: _Block) -> int:
    return b.add(b.shortcut(), b.factorized(b.factorized(b.x, b.stride)))


def _j30(b: _Block) -> int:
    return b.add(b.shortcut(), b.factorized(b.conv_relu(b.x, 3, b.stride)))


def _g30(b: _Block) -> int:
    a = b.factorized(b.x, b.stride)
    return b.add(a, b.conv(b.factorized(b.add(b.shortcut(), a))))


def _r30(b: _Block) -> int:
    a = b.factorized(b.x, b.stride)
    inner = b.conv(b.add(b.shortcut(), a))
    return b.add(b.shortcut(), inner, b.factorized(a))


def _l20(b: _Block) -> int:
    return b.conv(b.conv_relu(b.x, 3, b.stride))


def _t20(b: _Block) -> int:
    return b.add(b.conv(b.x, stride=b.stride), b.factorized(b.x, b.stride))


def _t31(b: _Block) -> int:
    inner = b.conv_relu(b.factorized(b.x, b.stride))
    outer = b.factorized(b.add(b.shortcut(), inner))
    return b.add(b.shortcut(), inner, outer)


def _src0(b: _Block) -> int:
    a = b.conv_relu(b.x, 1, b.stride)
    return b.add(a, b.conv(b.conv_relu(a, 3), 3))


def _src1(b: _Block) -> int:
    return b.add(b.conv_relu(b.x, 1, b.stride), b.conv(b.inner_conv_relu(3), 3, b.stride))


def _src3(b: _Block) -> int:
    main = b.conv(b.conv_relu(b.inner_conv_relu(1), 3, b.stride))
    return b.add(b.conv(b.x, 1, b.stride), main)


def _src7(b: _Block) -> int:
    a = b.conv(b.x, 1, b.stride)
    return b.add(a, b.factorized(b.factorized(a)))


def _src8(b: _Block) -> int:
    a = b.conv(b.x, 1, b.stride)
    return b.add(a, b.conv(b.factorized(a)))


# What stands before the final rectifier of each block.
BLOCKS: dict[str, Callable[[_Block], int]] = {
    "a22": _a22,
    "b23": _b23,
    "g30": _g30,
    "j30": _j30,
    "l20": _l20,
    "r30": _r30,
    "src0": _src0,
    "src1": _src1,
    "src3": _src3,
    "src7": _src7,
    "src8": _src8,
    "t20": _t20,
    "t31": _t31,
    "z": _z,
}

FAMILY = Family(
    NAME,
    build,
    lambda count, seed: sampled(distinct(), count, seed),
    "Mills et al., GENNAPE, AAAI 2023, arXiv:2211.17226; github.com/Ascend-Research/GENNAPE",
)
