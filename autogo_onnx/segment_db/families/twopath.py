"""Two-Path (Mills et al., AAAI 2023): two chains of blocks side by side, on CIFAR-10.

Rules after github.com/Ascend-Research/GENNAPE and github.com/Ascend-Research/AutoGO, in the form of
their computation graphs: TensorFlow's padding, no activation in bottlenecks, convolutions without
bias. There are about 10^27 encodings; the networks are sampled as published. One liberty: the two
paths are concatenated in the order of their own structure, so that a network is the same whichever
path is named first.

A path is 2 to 4 blocks, two of which halve the resolution and double the width. A block is 1 to 3
operations: at least one convolution of `BLOCKS`, at most one supplement. The first convolution of a
block has its stride and its change of width; a supplement before it has the width of its input. The
blocks that do not halve add their input to their result.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.chains import Chains
from autogo_onnx.segment_db.families.family import Family
from autogo_onnx.segment_db.families.network import Network

NAME = "twopath"
BLOCKS = Chains(
    (
        "conv3x3",
        "conv5x5",
        "double3x3",
        "bottleneck-r2-k3",
        "bottleneck-r4-k3",
        "bottleneck-e2-k3",
        "inception_s3x3",
        "inception_s5x5",
    ),
    ("conv1x1", "bottleneck-r2-k1", "bottleneck-e2-k1", "avgpool3x3", "maxpool3x3"),
)
_LONGEST_BLOCK = 3
_LONGEST_PATH = 4
_WIDTH = 32
_REDUCTIONS = 2


@dataclass(frozen=True, order=True)
class Block:
    """A chain of operations; stride 2 for a reduction."""

    operations: tuple[str, ...]
    stride: int


@dataclass(frozen=True, order=True)
class Layer:
    """What operations are made of: one window, or the begin or end of a sum with a block's input.

    Attributes:
        kind: Conv, ConvClip (a rectifier up to 6 follows), MaxPool or AveragePool, all with batch
            normalization; begin or end of a sum.
        width: channels of a convolution's output; 0 for the rest.
    """

    kind: str
    kernel: tuple[int, int] = (0, 0)
    width: int = 0
    stride: int = 1


Path = tuple[Block, ...]


def build(code: str) -> Network:
    """The network of two paths; input `[1,3,32,32]`.

    Operations are joined by `+`, blocks by `,`, paths by `:`. A block that ends with `/2` is a
    reduction.

    Raises:
        InputError: `code` is no such network.

    >>> plain = "conv3x3/2,conv3x3/2"
    >>> build(f"{plain}:{plain}").graph.output_shapes
    ((1, 10),)
    """
    net = Builder((1, 3, 32, 32), same_upper=True, epsilon=1e-3)
    stem = net.relu6(net.conv_bn(0, _WIDTH, kernel=3))
    stem = net.relu6(net.conv_bn(stem, _WIDTH, kernel=3, stride=2))
    paths = sorted(layers(path) for path in parse(code))
    x = net.concat(*(_append(net, stem, path) for path in paths))
    x = net.relu6(net.conv_bn(x, 512, kernel=3))
    return net.network(net.linear(net.dropout(net.global_pool(x)), 10))


def parse(code: str) -> tuple[Path, ...]:
    """The two paths of a code, in its order.

    Raises:
        InputError: the text does not read `op+op,op/2:...`, or breaks a rule of the family.
    """
    paths = tuple(
        tuple(_parse_block(block) for block in path.split(",")) for path in code.split(":")
    )
    if len(paths) != 2:
        raise InputError(f"Two-Path architecture {code!r} is not two paths joined by ':'")
    for path in paths:
        if len(path) > _LONGEST_PATH or sum(block.stride == 2 for block in path) != _REDUCTIONS:
            raise InputError(
                f"Two-Path architecture {code!r}: a path has 2 to 4 blocks, 2 of them with '/2'"
            )
    return paths


def encode(*paths: Path) -> str:
    """The code of two paths, the lesser one first."""
    return ":".join(
        ",".join("+".join(block.operations) + "/2" * (block.stride == 2) for block in path)
        for path in sorted(paths)
    )


def sample(seed: int) -> Iterator[str]:
    """Codes drawn as published, without end; none gives the network of an earlier one."""
    draw = random.Random(f"{NAME} {seed}")
    seen = set()
    while True:
        paths = (_draw_path(draw), _draw_path(draw))
        structure = tuple(sorted(layers(path) for path in paths))
        if structure not in seen:
            seen.add(structure)
            yield encode(*paths)


def layers(path: Path) -> tuple[Layer, ...]:
    """What a path computes: equal for the encodings of it that compute the same."""
    result: list[Layer] = []
    width = _WIDTH
    for block in path:
        stride, out = block.stride, width * block.stride
        result += [] if block.stride == 2 else [Layer("begin")]
        for operation in block.operations:
            if operation in BLOCKS.convolutions:
                result += _expand(operation, width, out, stride)
                stride, width = 1, out
            else:
                result += _expand(operation, width, width, 1)
        result += [] if block.stride == 2 else [Layer("end")]
    return tuple(result)


def _parse_block(text: str) -> Block:
    chain = text.removesuffix("/2")
    operations = tuple(chain.split("+"))
    if len(operations) > _LONGEST_BLOCK or not BLOCKS.contains(operations):
        raise InputError(
            f"Two-Path block {text!r} is not 1 to {_LONGEST_BLOCK} operations, joined by '+': "
            f"{BLOCKS}"
        )
    return Block(operations, 1 if chain == text else 2)


def _draw_path(draw: random.Random) -> Path:
    length = draw.randint(_REDUCTIONS, _LONGEST_PATH)
    reductions = draw.sample(range(length), _REDUCTIONS)
    return tuple(
        Block(BLOCKS.draw(draw, draw.randint(1, _LONGEST_BLOCK)), 2 if i in reductions else 1)
        for i in range(length)
    )


@cache
def _expand(operation: str, before: int, after: int, stride: int) -> tuple[Layer, ...]:
    """The layers of an operation, from one width to another."""
    k = int(operation[-1])
    match re.split(r"\dx|-", operation):
        case ["conv", _]:
            return (Layer("ConvClip", (k, k), after, stride),)
        case ["double", _]:
            return Layer("ConvClip", (k, k), before, stride), Layer("ConvClip", (k, k), after)
        case ["inception_s", _]:
            return Layer("ConvClip", (1, k), after, stride), Layer("ConvClip", (k, 1), after)
        case ["bottleneck", change, _]:
            hidden = {"r4": before // 4, "r2": before // 2, "e2": before * 2}[change]
            return Layer("Conv", (k, k), hidden, stride), Layer("Conv", (k, k), after)
    return (Layer("MaxPool" if operation == "maxpool3x3" else "AveragePool", (k, k)),)


def _append(net: Builder, x: int, path: tuple[Layer, ...]) -> int:
    begin = x
    for layer in path:
        match layer.kind:
            case "begin":
                begin = x
            case "end":
                x = net.add(begin, x)
            case "Conv" | "ConvClip":
                x = net.conv_bn(x, layer.width, kernel=layer.kernel, stride=layer.stride)
                x = net.relu6(x) if layer.kind == "ConvClip" else x
            case pool:
                x = net.batch_norm(net.pool(pool, x, kernel=layer.kernel[0]))
    return x


FAMILY = Family(
    NAME,
    build,
    lambda count, seed: islice(sample(seed), count),
    "Mills et al., GENNAPE, AAAI 2023, arXiv:2211.17226; github.com/Ascend-Research/GENNAPE",
)
