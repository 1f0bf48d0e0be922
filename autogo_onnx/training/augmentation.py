"""Random changes of a batch of pictures that leave their meaning as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from autogo_onnx.training.data import IGNORED
from autogo_onnx.training.options import Augmentation

FARTHEST = 8
"""A picture is moved by up to one part in so many of its size."""
_PICTURE_AXES = (-2, -1)


def augment(
    pictures: Tensor, truth: Tensor | None, way: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Mirror half of the pictures, or move each, and what is wanted of every pixel with it.

    Beyond the border are zeros, and labels that count nothing.

    Args:
        pictures: [N,C,H,W].
        truth: int64[N] labels, which stay as they are; else [N,rH,rW] labels or [N,C,rH,rW]
            targets, r times the size of the pictures.
        way: what to do.
        generator: of the random choices, on the CPU.
    """
    layers, fills = [pictures], [0]
    if truth is not None and truth.dim() > 1:
        layers.append(truth)
        fills.append(0 if truth.dtype.is_floating_point else IGNORED)
    if way in ("flip", "both"):
        chosen = torch.rand(len(pictures), generator=generator) < 0.5
        layers = [torch.where(_per_picture(chosen, v), v.flip(-1), v) for v in layers]
    if way in ("shift", "both"):
        for axis in _PICTURE_AXES:
            size = pictures.shape[axis]
            most = size // FARTHEST
            moves = torch.randint(-most, most + 1, (len(pictures), 1), generator=generator)
            layers = [
                _moved(values, axis, moves * (values.shape[axis] // size), fill)
                for values, fill in zip(layers, fills, strict=True)
            ]
    return layers[0], layers[1] if len(layers) > 1 else truth


def _per_picture(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.device).reshape(-1, *(1,) * (like.dim() - 1))


def _moved(values: Tensor, axis: int, moves: Tensor, fill: int) -> Tensor:
    """Rows or columns read from other places; `fill` where there are none."""
    size = values.shape[axis]
    places = (torch.arange(size) + moves).to(values.device)
    shape = [1] * values.dim()
    shape[0], shape[axis] = len(values), size
    index = places.clamp(0, size - 1).reshape(shape).expand(values.shape)
    is_inside = ((places >= 0) & (places < size)).reshape(shape)
    return torch.where(is_inside, values.gather(axis, index), fill)
