"""Resize and Upsample: per axis, every output element is a weighted sum of a few input elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autogo_onnx.torch_graph.node import Call

_Floats = np.ndarray[Any, np.dtype[np.float32]]
_ROUND: Mapping[str, Callable[[_Floats], _Floats]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
}


@dataclass(frozen=True)
class _Axis:
    """One axis on its way from `size` to `length` elements."""

    size: int
    length: int
    scale: float


def _resize(call: Call) -> Tensor:
    x = call.inputs[0]
    if call.get("antialias", 0):
        raise call.refuse("with antialias")
    for axis, change in _changes(call, x).items():
        x = _along(call, x, axis, change)
    return x


def _changes(call: Call, x: Tensor) -> dict[int, _Axis]:
    """What becomes of the axes that change their size."""
    is_new = call.node.kind == "Resize" and call.node.opset >= 11
    scales = call.numbers(2 if is_new else 1, "scales")
    sizes = call.numbers(3, "") if is_new else None
    axes = [a % x.dim() for a in call.get("axes", range(x.dim()))]
    if call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.refuse("that keeps the aspect ratio")
    if sizes:
        pairs = [(n, n / x.shape[a]) for a, n in zip(axes, sizes, strict=True)]
    elif scales:
        pairs = [(math.floor(x.shape[a] * s), s) for a, s in zip(axes, scales, strict=True)]
    else:
        raise call.refuse("without scales or sizes")
    return {
        axis: _Axis(x.shape[axis], length, scale)
        for axis, (length, scale) in zip(axes, pairs, strict=True)
        if length != x.shape[axis] or scale != 1
    }


def _along(call: Call, x: Tensor, axis: int, change: _Axis) -> Tensor:
    """Resize one axis."""
    places = _places(call, change)
    mode = call.get("mode", "nearest")
    if mode == "nearest":
        rounded = _ROUND[call.get("nearest_mode", "round_prefer_floor")]
        old = call.node.kind == "Upsample" or call.node.opset < 11
        index = (np.floor if old else rounded)(places)
        return x.index_select(axis, _index(index, change, x))
    if mode not in ("linear", "bilinear", "trilinear", "cubic"):
        raise call.refuse(f"in mode {mode!r}")
    if mode != "cubic":
        places = np.clip(places, 0, change.size - 1)
    first = np.floor(places)
    rest = (places - first).astype(np.float32)
    taps = _cubic(call, rest) if mode == "cubic" else {0: 1 - rest, 1: rest}
    if mode == "cubic" and call.get("exclude_outside", 0):
        taps = _inside(taps, first, change.size)
    shape = [-1 if a == axis else 1 for a in range(x.dim())]
    return sum(
        x.index_select(axis, _index(first + step, change, x))
        * torch.from_numpy(np.ascontiguousarray(weight)).to(x).reshape(shape)
        for step, weight in taps.items()
    )


def _places(call: Call, change: _Axis) -> _Floats:
    """For every output element, where in the input it lies."""
    at = np.arange(change.length, dtype=np.float32)
    scale = np.float32(change.scale)
    default = "half_pixel" if call.node.kind == "Resize" else "asymmetric"
    if call.node.opset < 11:
        default = "asymmetric"
    way = call.get("coordinate_transformation_mode", default)
    half = np.float32(0.5)
    if way == "asymmetric":
        return at / scale
    if way == "align_corners":
        return at * np.float32((change.size - 1) / max(1, change.length - 1))
    if way == "pytorch_half_pixel" and change.length <= 1:
        return at * 0
    if way in ("half_pixel", "pytorch_half_pixel"):
        return (at + half) / scale - half
    if way == "half_pixel_symmetric":
        adjustment = np.float32(change.length / (change.scale * change.size))
        offset = np.float32(change.size / 2) * (1 - adjustment)
        return offset + (at + half) / scale - half
    raise call.refuse(f"by {way!r}")


def _cubic(call: Call, t: _Floats) -> dict[int, _Floats]:
    """Keys' kernel at the four nearest elements."""
    a = np.float32(call.get("cubic_coeff_a", -0.75))

    def near(s: _Floats) -> _Floats:
        return ((a + 2) * s - (a + 3)) * s * s + 1

    def far(s: _Floats) -> _Floats:
        return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a

    return {-1: far(t + 1), 0: near(t), 1: near(1 - t), 2: far(2 - t)}


def _inside(taps: Mapping[int, _Floats], first: _Floats, size: int) -> dict[int, _Floats]:
    """Elements outside count nothing, and the rest sums to one."""
    kept = {s: np.where((first + s >= 0) & (first + s < size), w, 0) for s, w in taps.items()}
    total = sum(kept.values())
    return {step: (weight / total).astype(np.float32) for step, weight in kept.items()}


def _index(places: _Floats, change: _Axis, x: Tensor) -> Tensor:
    index = np.clip(places, 0, change.size - 1).astype(np.int64)
    return torch.from_numpy(index).to(x.device)


OPERATORS: Mapping[str, Callable[[Call], Any]] = {"Resize": _resize, "Upsample": _resize}
