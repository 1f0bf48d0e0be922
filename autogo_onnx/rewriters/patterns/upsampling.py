"""Resize and the old Upsample as one thing: a map of pixels, the same for every channel.

Each new pixel is an affine combination of old ones: its coefficients sum to 1. Such a map commutes
with every affine map of the channels, its constant included.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.graph import constant_value
from autogo_onnx.liveness import is_op
from autogo_onnx.rewriters.open_dims.open_sizes import Size, divided
from autogo_onnx.rewriters.patterns.reading import operand, setting
from autogo_onnx.rewriters.view import View

Factors = tuple[float | None, ...]

_FIRST_WITH_SIZES = 11  # Before, `scales` was the only other input, and pixels were rounded down.
_SIZES = 3
_HALF_PIXELS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
_USUAL_AREA = 4.0
# Multiply-accumulates that ONNX Runtime does in the time of one more resized value (AVX-512, one
# thread), where scales or sizes are constant, and where they are computed, for which it leaves its
# blocked layout. Nearest copies what the other order would have to write anyway.
_MACS_PER_VALUE = {"nearest": (0.0, 20.0), "linear": (40.0, 120.0), "cubic": (5800.0, 5800.0)}


@dataclass(frozen=True)
class Upsampling:
    """A node that enlarges images.

    Attributes:
        node: Resize or Upsample.
        mode: nearest, linear or cubic.
        channels: of its input and result.
        axes: that its scales or sizes are about.
        factors: by spatial axis; None where they are not proven.
        is_constant: whether its scales or sizes are.
        keeps_batch: whether it is proven that it makes as many images as there were.
        rounds_down: whether, for whole factors, the nearest of new pixel j is floor(j / factor).
    """

    node: gs.Node
    mode: str
    channels: int
    axes: tuple[int, ...]
    factors: Factors
    is_constant: bool
    keeps_batch: bool
    rounds_down: bool

    @property
    def area(self) -> float:
        """How many pixels one pixel becomes; a guess where that is not proven."""
        known = [factor for factor in self.factors if factor is not None]
        return prod(known) if len(known) == len(self.factors) else _USUAL_AREA

    @property
    def whole_factors(self) -> tuple[int, ...] | None:
        """The factors if each is proven to be a whole number."""
        whole = tuple(int(factor or 0) for factor in self.factors)
        return whole if whole == self.factors else None


def is_resize(node: gs.Node | None) -> bool:
    """Whether the node maps pixels."""
    return node is not None and is_op(node, "Resize", "Upsample")


def channels_of(view: View, node: gs.Node) -> int | None:
    """The number of channels after a Resize; None when it is not proven."""
    made = view.dimensions.of(node.outputs[0])
    count = None if made is None else made[1]
    return count if isinstance(count, int) else None


def read(view: View, node: gs.Node, rank: int, channels: int) -> Upsampling | str:
    """What a Resize does, or why nothing commutes with it.

    Args:
        view: of the node's graph.
        node: of which `is_resize` is true.
        rank: of its result.
        channels: of its result.
    """
    transformation = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    if transformation == "tf_crop_and_resize":
        return "tf_crop_and_resize has values of its own outside the image"
    if node.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return f"keep_aspect_ratio_policy {node.attrs['keep_aspect_ratio_policy']}"
    mode = node.attrs.get("mode", "nearest")
    if mode not in _MACS_PER_VALUE:
        return f"{node.op} of mode {mode}"
    axes = tuple(int(axis) % rank for axis in node.attrs.get("axes", range(rank)))
    sizes = _sizes(view, node)
    if sizes is None:
        factors, keeps_batch = _scaled(view, node, rank, axes), True
    else:
        factors, keeps_batch = _sized(view, node, rank, channels, axes)
    if isinstance(factors, str):
        return factors
    is_constant = sizes is None or constant_value(sizes) is not None
    rounds_down = view.opset < _FIRST_WITH_SIZES or _rounds_down(node, transformation, factors)
    found = Upsampling(node, mode, channels, axes, factors, is_constant, keeps_batch, rounds_down)
    return found if found.area > 1 else f"{node.op} does not enlarge the image"


def resize(
    view: View, like: Upsampling, data: gs.Tensor, channels: int, result: gs.Tensor | str
) -> gs.Tensor:
    """Insert the same resizing of another tensor, of the same image size and so many channels."""
    node, sizes = like.node, _sizes(view, like.node)
    inputs = [data] + [gs.Variable.empty() if t.is_empty() else t for t in node.inputs[1:]]
    if sizes is not None and 1 in like.axes and channels != like.channels:
        inputs[_SIZES] = _with_channels(view, sizes, like.axes.index(1), channels)
    return view.insert(node.op, inputs, result, dict(node.attrs))


def extra_macs(upsampling: Upsampling, before: int, after: int) -> float:
    """What resizing `after` channels costs more than `before`, in MACs per new pixel."""
    fast, slow = _MACS_PER_VALUE[upsampling.mode]
    return (fast if upsampling.is_constant else slow) * (after - before)


def repeats(upsampling: Upsampling) -> tuple[int, ...] | str:
    """How often a resizing repeats every pixel along each axis, or why it does not."""
    if upsampling.mode != "nearest":
        return f"{upsampling.mode} interpolation"
    factors = upsampling.whole_factors
    if factors is None:
        return "the factor of the upsampling is not proven to be a whole number"
    if not upsampling.rounds_down:
        return "the upsampling does not repeat every pixel equally often"
    if not upsampling.keeps_batch:
        return "it is not proven that the batch is not resized"
    return factors


def _rounds_down(node: gs.Node, transformation: str, factors: Factors) -> bool:
    """Whether whole factors repeat pixels.

    Pixel `factor * i + r` lies at `i + r / factor`, or with half pixels at
    `i + (r + 0.5) / factor - 0.5`, which is less than half a pixel from i. The last half is missing
    from `tf_half_pixel_for_nn`, which is not one of them.
    """
    rounding = node.attrs.get("nearest_mode", "round_prefer_floor")
    if transformation == "asymmetric":
        is_double = all(factor in (1, 2) for factor in factors)
        return rounding == "floor" or (rounding == "round_prefer_floor" and is_double)
    return transformation in _HALF_PIXELS and rounding.startswith("round_prefer")


def _sizes(view: View, node: gs.Node) -> gs.Tensor | None:
    """The input that holds sizes; an empty one, like an omitted one, means scales."""
    if node.op == "Upsample" or view.opset < _FIRST_WITH_SIZES:
        return None
    sizes = operand(node, _SIZES)
    if sizes is None:
        return None
    value = constant_value(sizes)
    return None if value is not None and value.size == 0 else sizes


def _scaled(view: View, node: gs.Node, rank: int, axes: tuple[int, ...]) -> Factors | str:
    index = 1 if node.op == "Upsample" or view.opset < _FIRST_WITH_SIZES else 2
    scales = setting(node, "scales", index)
    if scales is None or scales.size != len(axes):
        return "the scales are not constant"
    full = np.ones(rank)
    full[list(axes)] = scales
    if (full[:2] != 1).any():
        return "the batch or the channels are resized too"
    return tuple(float(scale) for scale in full[2:])


def _sized(
    view: View, node: gs.Node, rank: int, channels: int, axes: tuple[int, ...]
) -> tuple[Factors | str, bool]:
    """Factors, and whether the batch stays; the batch may be open, and so may all sizes."""
    before = view.dimensions.of(node.inputs[0])
    given = view.dimensions.value(node.inputs[_SIZES])
    if 1 in axes and (before is None or before[1] != channels):
        return "it is not proven that the channels are not resized", False
    if before is None or given is None:
        return (None,) * (rank - 2), False
    after = list(before)
    for axis, size in zip(axes, given, strict=True):
        after[axis] = size
    factors = tuple(_ratio(new, old) for new, old in zip(after, before, strict=True))
    return factors[2:], factors[0] == 1


def _ratio(new: Size, old: Size) -> float | None:
    if isinstance(new, int) and isinstance(old, int) and old:
        return new / old
    whole = divided(new, old)
    return float(whole) if isinstance(whole, int) else None


def _with_channels(view: View, sizes: gs.Tensor, index: int, channels: int) -> gs.Tensor:
    """The sizes with another number of channels, which stands at `index`."""
    value, stem = constant_value(sizes), f"{sizes.name}.{channels}_channels"
    if value is not None:
        changed = value.copy()
        changed[index] = channels
        return view.constant(stem, changed)
    number = view.constant(f"{stem}.number", np.array([channels], np.int64))
    ends = np.array([[0, index], [index + 1, np.iinfo(np.int64).max]])
    kept = [
        view.insert(
            "Slice",
            [sizes, *(view.constant(f"{stem}.end", np.array([end])) for end in pair)],
            f"{stem}.kept",
        )
        for pair in ends
    ]
    return view.insert("Concat", [kept[0], number, kept[1]], stem, {"axis": 0})
