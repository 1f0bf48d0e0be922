"""Image files as model inputs: decode, resize if the model demands a size, scale, lay out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from autogo_onnx.errors import InputError
from autogo_onnx.options import Options
from autogo_onnx.sample_files import check_bytes
from autogo_onnx.signature import TensorSpec

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Plan:
    """How a picture becomes an input.

    Attributes:
        layout: where the channels stand.
        channels: 1 is grayscale, 3 is RGB.
        height, width: pixels that the model demands; None takes what the files have.
        dtype: of the input; uint8 takes the pixels as they are.
    """

    layout: Literal["nchw", "nhwc"]
    channels: int
    height: int | None
    width: int | None
    dtype: np.dtype[np.generic]


def plan(spec: TensorSpec, options: Options) -> Plan:
    """Read channels, layout and size off the declared input.

    The channel axis is the second or the last, whichever is 1 or 3, the second if both are;
    an explicit `options.layout` decides instead, and an unknown number of channels is then 3.

    Raises:
        InputError: the input is no batch of pictures, or mean and std do not fit its channels.
    """
    if spec.dims is None or len(spec.dims) != 4:
        raise InputError(
            f"input {spec.name!r} {_show(spec)} is no batch of pictures: use .npz or .npy"
        )
    if spec.numpy_dtype.kind != "f" and spec.numpy_dtype != np.uint8:
        raise InputError(
            f"input {spec.name!r} takes {spec.numpy_dtype}, no pictures: use .npz or .npy"
        )
    layout = options.layout
    if layout == "auto":
        layout = "nhwc" if spec.dims[3] in (1, 3) and spec.dims[1] not in (1, 3) else "nchw"
    channels, height, width = (
        spec.dims[1:] if layout == "nchw" else (spec.dims[3], spec.dims[1], spec.dims[2])
    )
    if options.layout != "auto" and not isinstance(channels, int):
        channels = 3
    if not isinstance(channels, int) or channels not in (1, 3):
        raise InputError(
            f"input {spec.name!r} {_show(spec)} has no axis of 1 or 3 channels where "
            f"{layout} has it: set --layout, or use .npz or .npy"
        )
    for name, values in (("mean", options.mean), ("std", options.std)):
        if len(values) not in (1, channels):
            raise InputError(f"{name} has {len(values)} values, the input has {channels} channels")
    if not all(s > 0 for s in options.std):
        raise InputError(f"std {list(options.std)} must be positive")
    return Plan(
        layout,
        channels,
        height if isinstance(height, int) else None,
        width if isinstance(width, int) else None,
        spec.numpy_dtype,
    )


def read(paths: Sequence[Path], plan: Plan, options: Options) -> np.ndarray:
    """Decode files to [N,C,H,W] or [N,H,W,C].

    Floating-point inputs get float32 `(pixel * scale - mean) / std`, uint8 inputs the pixels.

    Pictures are resized (bilinear, the aspect ratio is not kept) to a size that the model
    demands, and to no other.

    Raises:
        InputError: a file is no picture, or sizes differ where the model demands none.
    """
    first = _pixels(paths[0], plan)
    check_bytes(first.size * 4 * len(paths), f"{paths[0].parent} with {len(paths)} images")
    kind: type[np.generic] = np.uint8 if plan.dtype == np.uint8 else np.float32
    batch = np.empty((len(paths), *first.shape), kind)
    for index, path in enumerate(paths):
        pixels = _pixels(path, plan)
        if pixels.shape != first.shape:
            raise InputError(
                f"the model demands no size and images differ: {paths[0]} is "
                f"{_size(first)}, {path} is {_size(pixels)}: crop them to one size"
            )
        batch[index] = pixels
    if kind is np.float32:
        batch *= np.float32(options.scale)
        batch -= np.asarray(options.mean, np.float32)
        batch /= np.asarray(options.std, np.float32)
    return batch if plan.layout == "nhwc" else np.ascontiguousarray(batch.transpose(0, 3, 1, 2))


def _pixels(path: Path, plan: Plan) -> np.ndarray:
    """uint8[H,W,C] of one file."""
    try:
        with Image.open(path) as file:
            picture = file.convert("L" if plan.channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no readable image: {error}") from error
    size = (plan.width or picture.width, plan.height or picture.height)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(size[1], size[0], plan.channels)


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _show(spec: TensorSpec) -> str:
    if spec.dims is None:
        return "of unknown rank"
    return "[" + ", ".join("?" if d is None else str(d) for d in spec.dims) + "]"
