"""Inception (Mills et al., AAAI 2023): four stages of blocks with up to four paths, on CIFAR-10.

Rules after github.com/Ascend-Research/GENNAPE and github.com/Ascend-Research/AutoGO, in the form of
their computation graphs: TensorFlow's padding, convolutions with bias. There are about 10^48
encodings; the networks are sampled as published. One liberty: the paths of a block are concatenated
in the order of their text, so that a network is the same whichever path is named first.

A stage is one block 2 to 6 times over; from the second stage on, its first block halves the
resolution and doubles the width. A path is a chain of operations of `PATHS`, at least one of them a
convolution and at most one a supplement. How many a block may have is a matter of `Limits`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.builder import Builder, Pair
from autogo_onnx.segment_db.families.chains import Chains
from autogo_onnx.segment_db.families.family import Family, drawn
from autogo_onnx.segment_db.families.network import Network

NAME = "inception"
POOLS = {"avgpool3x3": "AveragePool", "maxpool3x3": "MaxPool"}
PATHS = Chains(
    (
        "conv3x3",
        "conv5x5",
        "depthwise3x3",
        "depthwise5x5",
        "inception_s3x3",
        "inception_s5x5",
        "inception_p3x3",
        "inception_p5x5",
    ),
    ("conv1x1", "double1x1", *POOLS),
)
_WIDTHS = (32, 64, 128, 256)
_LEAST_WIDTH = 16
_REPEATS = (2, 3, 4, 5, 6)
_SHARES = ((1,), (2, 2), (2, 4, 4), (4, 4, 4, 4))  # of the stage's width, as divisors


@dataclass(frozen=True)
class Limits:
    """How many operations a block has, by its number of paths.

    Attributes:
        most: in the whole block.
        least: in each of its paths.
    """

    most: tuple[int, int, int, int]
    least: tuple[int, int, int, int]


PUBLISHED = Limits((3, 4, 8, 10), (1, 1, 2, 2))
# The published code has these in a comment, and the best network that AutoGO's authors published
# keeps to no others. The least number is inferred from that network.
EARLIER = Limits((4, 8, 12, 16), (1, 1, 1, 1))


@dataclass(frozen=True, order=True)
class Path:
    """A chain of operations, its width inside and at its end.

    The first operation that can set a width sets the inner one, the last one the outer one.
    """

    operations: tuple[str, ...]
    inner: int
    outer: int


@dataclass(frozen=True)
class Stage:
    """A block, and how often it comes."""

    repeats: int
    paths: tuple[Path, ...]


def build(code: str) -> Network:
    """The network of four stages; input `[1,3,32,32]`.

    A path reads `op+op@inner-outer`; paths are joined by `,`; a stage reads `repeats=paths`; stages
    are joined by `:`.

    Raises:
        InputError: `code` is no such network within the limits `EARLIER`.

    >>> widths = (32, 64, 128, 256)
    >>> build(":".join(f"2=conv3x3@{w}-{w}" for w in widths)).graph.output_shapes
    ((1, 10),)
    """
    net = Builder((1, 3, 32, 32), same_upper=True, epsilon=1e-3)
    x = net.relu6(_conv(net, 0, _WIDTHS[0], 3))
    for stage, width in zip(parse(code), _WIDTHS, strict=True):
        for repeat in range(stage.repeats):
            stride = 1 if repeat or width == _WIDTHS[0] else 2
            x = _append_block(net, x, stage.paths, width, stride)
    x = net.relu6(_conv(net, x, 512, 3))
    return net.network(net.linear(net.dropout(net.global_pool(x)), 10))


def parse(code: str) -> tuple[Stage, ...]:
    """The stages of a code, the paths of each in order.

    Raises:
        InputError: the text does not read `repeats=op+op@inner-outer,...:...`, or breaks a rule of
            the family.
    """
    texts = code.split(":")
    if len(texts) != len(_WIDTHS):
        raise InputError(f"Inception architecture {code!r} is not four stages joined by ':'")
    return tuple(_parse_stage(text, width) for text, width in zip(texts, _WIDTHS, strict=True))


def encode(stages: tuple[Stage, ...]) -> str:
    """The code of four stages, the paths of each in order."""
    return ":".join(
        f"{stage.repeats}="
        + ",".join(
            f"{'+'.join(path.operations)}@{path.inner}-{path.outer}" for path in sorted(stage.paths)
        )
        for stage in stages
    )


def codes(count: int, seed: int, limits: Limits = PUBLISHED) -> Iterator[str]:
    """So many codes drawn as published; no two give the same network."""

    def draw(generator: random.Random) -> str:
        return encode(tuple(_draw_stage(generator, width, limits) for width in _WIDTHS))

    return drawn(draw, count, seed)


def _parse_stage(text: str, width: int) -> Stage:
    match = re.fullmatch(r"([2-6])=(.+)", text)
    if not match:
        raise InputError(
            f"Inception stage {text!r} does not read 'repeats=path,path', 2 to 6 times"
        )
    paths = tuple(sorted(_parse_path(path) for path in match[2].split(",")))
    if len(paths) > len(_SHARES) or sorted(p.outer for p in paths) != _outer(width, len(paths)):
        raise InputError(
            f"Inception stage {text!r}: outer widths of the paths are not those of a block of "
            f"{width} channels, one of {[_outer(width, n + 1) for n in range(len(_SHARES))]}"
        )
    most = EARLIER.most[len(paths) - 1]
    if sum(len(path.operations) for path in paths) > most:
        raise InputError(f"Inception stage {text!r} has more than {most} operations")
    return Stage(int(match[1]), paths)


def _parse_path(text: str) -> Path:
    match = re.fullmatch(r"(.+)@([1-9][0-9]{0,3})-([1-9][0-9]{0,3})", text)
    path = Path(tuple(match[1].split("+")), int(match[2]), int(match[3])) if match else None
    if not path or not PATHS.contains(path.operations):
        raise InputError(f"Inception path {text!r} does not read 'op+op@inner-outer' with {PATHS}")
    if path.inner not in _inner(path.operations, path.outer):
        raise InputError(
            f"Inception path {text!r}: inner width {path.inner} is none of "
            f"{_inner(path.operations, path.outer)}"
        )
    return path


def _outer(width: int, paths: int) -> list[int]:
    """Outer widths of the paths of a block, ascending."""
    return sorted(max(_LEAST_WIDTH, width // share) for share in _SHARES[paths - 1])


def _inner(operations: tuple[str, ...], outer: int) -> tuple[int, ...]:
    """Inner widths that a path can have: half, same, double if an inner tensor is there at all."""
    if sum(operation not in POOLS for operation in operations) < 2:
        return (outer,)
    return max(_LEAST_WIDTH, outer // 2), outer, outer * 2


def _draw_stage(draw: random.Random, width: int, limits: Limits) -> Stage:
    count = draw.choice((1, 2, 3, 4))
    least, left = limits.least[count - 1], limits.most[count - 1]
    outers = _outer(width, count)
    draw.shuffle(outers)
    paths = []
    for later, outer in zip(reversed(range(count)), outers, strict=True):
        length = draw.randint(least, left - least * later)
        left -= length
        operations = PATHS.draw(draw, length)
        inners = _inner(operations, outer)
        inner = outer if len(inners) == 1 else draw.choices(inners, (0.3, 0.6, 0.1))[0]
        paths.append(Path(operations, inner, outer))
    return Stage(draw.choice(_REPEATS), tuple(paths))


def _append_block(net: Builder, x: int, paths: tuple[Path, ...], width: int, stride: int) -> int:
    """Paths side by side, projected if their widths are too many, plus the input if it fits."""
    y = net.concat(*(_append_path(net, x, path, stride) for path in paths))
    if net.channels(y) != width:
        y = _conv(net, y, width, 1)
    return net.add(x, y) if stride == 1 and net.channels(x) == width else y


def _append_path(net: Builder, x: int, path: Path, stride: int) -> int:
    sets_width = [i for i, operation in enumerate(path.operations) if operation not in POOLS]
    for index, operation in enumerate(path.operations):
        if operation in POOLS:
            x = net.batch_norm(net.pool(POOLS[operation], x, kernel=3))
            continue
        inner = path.inner if index == sets_width[0] else net.channels(x)
        width = path.outer if index == sets_width[-1] else inner
        if operation in PATHS.convolutions:
            x, stride = _append_convolution(net, x, operation, width, stride), 1
        else:
            for _ in range(1 if operation == "conv1x1" else 2):
                x = net.relu6(_conv(net, x, width, 1))
    return x


def _append_convolution(net: Builder, x: int, operation: str, width: int, stride: int) -> int:
    k = int(operation[-1])
    across, down = ((1, k), (1, stride)), ((k, 1), (stride, 1))
    match operation[:-3]:
        case "conv":
            return net.relu6(_conv(net, x, width, k, stride))
        case "depthwise":
            x = x if net.channels(x) == width else net.conv(x, width)
            return net.relu6(net.batch_norm(net.depthwise(x, kernel=k, stride=stride, bias=True)))
        case "inception_s":
            return net.relu6(_conv(net, net.relu6(_conv(net, x, width, *across)), width, *down))
    left, right = width // 2, width - width // 2
    if stride == 1:
        return net.relu6(net.concat(_conv(net, x, left, *across), _conv(net, x, right, *down)))
    first = _conv(net, _conv(net, x, left, *across), left, *down)
    second = _conv(net, _conv(net, x, right, *down), right, *across)
    return net.relu6(net.concat(first, second))


def _conv(net: Builder, x: int, width: int, kernel: Pair, stride: Pair = 1) -> int:
    """Convolution with bias, and batch normalization."""
    return net.batch_norm(net.conv(x, width, kernel=kernel, stride=stride, bias=True))


FAMILY = Family(
    NAME,
    build,
    codes,
    "Mills et al., GENNAPE, AAAI 2023, arXiv:2211.17226; github.com/Ascend-Research/GENNAPE",
)
