"""Networks designed by hand, exactly as published: those the paper evolves, and MobileNets.

A code is a name, or a name and a size of the input in pixels: `resnet50`, `resnet50@160`,
`edsr_x2@360x640` (height first). Sources are named where a network is built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families import edsr, fsrcnn, mobilenet, resnet, unet, vgg
from autogo_onnx.segment_db.families.family import Family, sampled
from autogo_onnx.segment_db.families.network import Network

NAME = "published"
_LARGEST = 8192  # pixels along an axis
_CODE = re.compile(r"([a-z0-9_]+)(?:@([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?)?")


class Build(Protocol):
    """What makes a network: a function."""

    def __call__(self, height: int, width: int) -> Network:
        """Must make the network for inputs of so many pixels."""
        ...


@dataclass(frozen=True)
class Design:
    """How to build a network, the input size that is meant where none is given, and its steps."""

    build: Build
    size: int = 224
    step: int = 32


DESIGNS: dict[str, Design] = {
    **{
        f"edsr_x{scale}": Design(partial(edsr.build, scale=scale), size=48, step=1)
        for scale in (2, 3, 4)
    },
    **{
        f"fsrcnn{name}_x{scale}": Design(
            partial(fsrcnn.build, scale=scale, design=design), size=48, step=1
        )
        for name, design in (("", (56, 12, 4)), ("_m3", (56, 12, 3)), ("_s", (32, 5, 1)))
        for scale in (2, 3, 4)
    },
    "mobilenet_v2": Design(mobilenet.build_v2),
    "mobilenet_v3_large": Design(partial(mobilenet.build_v3, variant="large")),
    "mobilenet_v3_small": Design(partial(mobilenet.build_v3, variant="small")),
    "resnet50": Design(partial(resnet.build, depth=50)),
    "resnet50_v1": Design(partial(resnet.build, depth=50, as_published=True)),
    "resnet101": Design(partial(resnet.build, depth=101)),
    "resnet101_v1": Design(partial(resnet.build, depth=101, as_published=True)),
    "unet_denoising": Design(unet.build, size=256),
    "vgg16": Design(vgg.build),
    "vgg16_bn": Design(partial(vgg.build, batch_norm=True)),
}


def build(code: str) -> Network:
    """The network of a code.

    Raises:
        InputError: there is no network of that name, or it does not take that size.

    >>> build("mobilenet_v2").graph.input_shapes
    ((1, 3, 224, 224),)
    """
    match = _CODE.fullmatch(code)
    if not match or match[1] not in DESIGNS:
        raise InputError(
            f"published network {code!r} is not NAME, NAME@SIZE or NAME@HEIGHTxWIDTH with NAME one"
            f" of {', '.join(DESIGNS)}"
        )
    design = DESIGNS[match[1]]
    height = int(match[2] or design.size)
    width = int(match[3] or height)
    if max(height, width) > _LARGEST or height % design.step or width % design.step:
        raise InputError(
            f"published network {code!r}: {match[1]} takes sizes up to {_LARGEST}"
            + (f" that are multiples of {design.step}" if design.step > 1 else "")
        )
    return design.build(height, width)


FAMILY = Family(
    NAME,
    build,
    lambda count, seed: sampled(DESIGNS, count, seed),
    "the papers that `resnet`, `vgg`, `edsr`, `fsrcnn`, `unet` and `mobilenet` name",
)
