"""FBNet (Wu et al., CVPR 2019) in the CIFAR-100 setting of HW-NAS-Bench: 22 blocks of nine kinds.

Rules after github.com/GATECH-EIC/HW-NAS-Bench, hw_nas_bench_api/fbnet_models/model_infer.py.
Parameters of the 5,000 networks that HELP (github.com/HayeonLee/HELP) measured equal the published
ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families.builder import Builder
from autogo_onnx.segment_db.families.family import Family, drawn
from autogo_onnx.segment_db.families.network import Network

NAME = "fbnet"
BLOCKS = (
    "k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip",
)  # fmt: skip
_STEM_WIDTH = 16
_HEAD_WIDTH = 1504
# Blocks, width and first stride of every stage.
_STAGES = ((1, 16, 1), (4, 24, 1), (4, 32, 2), (4, 64, 2), (4, 112, 1), (4, 184, 2), (1, 352, 1))


@dataclass(frozen=True)
class _Place:
    """Where a block stands: widths before and after it, and its stride."""

    before: int
    after: int
    stride: int

    @property
    def keeps_shape(self) -> bool:
        """Whether what goes in may be added to what comes out."""
        return self.before == self.after and self.stride == 1


def _places() -> Iterator[_Place]:
    before = _STEM_WIDTH
    for blocks, width, stride in _STAGES:
        for position in range(blocks):
            yield _Place(before, width, 1 if position else stride)
            before = width


_PLACES = tuple(_places())


def build(code: str) -> Network:
    """The network of 22 blocks joined by `|`: input `[1,3,32,32]`, output `[1,100]`.

    Raises:
        InputError: the text is not 22 of `BLOCKS`.

    >>> build("|".join(["skip"] * 22)).parameters()
    780660
    """
    blocks = code.split("|")
    if len(blocks) != len(_PLACES) or set(blocks) - set(BLOCKS):
        raise InputError(
            f"FBNet {code!r} is not {len(_PLACES)} blocks joined by '|', of {', '.join(BLOCKS)}"
        )
    net = Builder((1, 3, 32, 32))
    x = net.relu(net.conv_bn(0, _STEM_WIDTH, kernel=3))
    for block, place in zip(blocks, _PLACES, strict=True):
        x = _skip(net, x, place) if block == "skip" else _block(net, x, block, place)
    x = net.relu(net.conv_bn(x, _HEAD_WIDTH))
    return net.network(net.classifier(x, 100))


def with_skips_first(code: str) -> str:
    """The code that stands for all that give the same network.

    Where the shape is kept a skip vanishes, so only the order of the other blocks counts.

    >>> code = with_skips_first("|".join(["k3_e1", "k3_e3", "k5_e3", "skip"] + ["k3_e1"] * 18))
    >>> code.split("|")[:5]
    ['k3_e1', 'k3_e3', 'skip', 'k5_e3', 'k3_e1']
    """
    sorted_blocks: list[str] = []
    run: list[str] = []
    for block, place in zip(code.split("|"), _PLACES, strict=True):
        if not place.keeps_shape:
            sorted_blocks += [*_skips_first(run), block]
            run = []
        else:
            run.append(block)
    return "|".join([*sorted_blocks, *_skips_first(run)])


def _skips_first(blocks: list[str]) -> list[str]:
    return sorted(blocks, key=lambda block: block != "skip")


def _skip(net: Builder, x: int, place: _Place) -> int:
    if place.keeps_shape:
        return x
    return net.relu(net.conv_bn(x, place.after, stride=place.stride))


def _block(net: Builder, x: int, block: str, place: _Place) -> int:
    """`k<kernel>_e<expansion>[_g<groups>]`; the expanding convolution is there at e1, too."""
    kernel, expansion, *rest = (int(part[1:]) for part in block.split("_"))
    groups = rest[0] if rest else 1
    y = net.relu(net.conv_bn(x, place.before * expansion, group=groups))
    if groups > 1:
        y = shuffle(net, y, groups)
    y = net.relu(net.batch_norm(net.depthwise(y, kernel=kernel, stride=place.stride)))
    y = net.conv_bn(y, place.after, group=groups)
    return net.add(x, y) if place.keeps_shape else y


def shuffle(net: Builder, x: int, groups: int) -> int:
    """Channels of all groups by turns, by way of `[N,g,C/g,H,W]` and `[N,C/g,g,H,W]`."""
    whole = net.shape(x)
    batch, width, *space = whole
    split = net.op("Reshape", (x,), (batch, groups, width // groups, *space))
    turned = net.op(
        "Transpose", (split,), (batch, width // groups, groups, *space), perm=(0, 2, 1, 3, 4)
    )
    return net.op("Reshape", (turned,), whole)


def _draw(rng: random.Random) -> str:
    return with_skips_first("|".join(rng.choice(BLOCKS) for _ in _PLACES))


FAMILY = Family(
    NAME,
    build,
    lambda count, seed: drawn(_draw, count, seed),
    "Wu et al., CVPR 2019, arXiv:1812.03443; Li et al., HW-NAS-Bench, ICLR 2021;"
    " github.com/GATECH-EIC/HW-NAS-Bench",
)
