"""Nodes for a map that differs at the border: one convolution, and a ring that is added to it.

No size of the image is used, so the nodes are right for open sizes too, down to a single pixel,
which is first and last row and column at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs

from autogo_onnx.rewriters.patterns.bordered import FIRST, INNER, LAST, Bordered, Part, Parts
from autogo_onnx.rewriters.patterns.linear import Weights, rounded
from autogo_onnx.rewriters.view import View

_BOUNDS_ARE_INPUTS = 10
_END = 2**63 - 1
_ROWS, _COLUMNS = 2, 3
_BORDERS = (FIRST, LAST)


@dataclass(frozen=True)
class Ring:
    """A map in the types of the graph, to be built behind a tensor.

    Attributes:
        whole: where the parts read.
        weights: by part; one that adds nothing is left out.
    """

    whole: Bordered
    weights: dict[Parts, Weights]


def ring(whole: Bordered, dtype: np.dtype) -> Ring:
    """The map, of a magnitude that the type can hold, with weights as Conv has them."""
    weights = {}
    for parts, weight in whole.weights.items():
        last = tuple(axis for axis, part in zip((4, 5), parts, strict=True) if part == LAST)
        kernel = np.flip(weight, last).reshape(-1, *weight.shape[3:])
        found = rounded(kernel, whole.biases[parts].reshape(-1), dtype)
        assert isinstance(found, Weights), "magnitude() was asked first"
        if parts == (INNER, INNER) or any(value.any() for value in _given(found)):
            weights[parts] = found
    return Ring(whole, weights)


def build(view: View, ring: Ring, source: gs.Tensor, result: gs.Variable) -> None:
    """Add nodes that make `result`, a tensor without maker, of `source`."""
    builder = _Builder(view, ring, source, result.name)
    block = ring.whole.extents[0].block
    image = builder.part((INNER, INNER))
    for axis in (_ROWS, _COLUMNS):
        for border in _BORDERS:
            image = builder.corrected(image, axis, border)
    maker = image.inputs[0]
    if block == 1:
        maker.outputs[0], maker.name = result, result.name
    else:
        view.insert("DepthToSpace", [image], result, {"blocksize": block})


@dataclass(frozen=True)
class _Builder:
    view: View
    ring: Ring
    source: gs.Tensor
    stem: str
    slices: dict[tuple[str, int, int, int], gs.Tensor] = field(default_factory=dict)
    bounds: dict[int, gs.Tensor] = field(default_factory=dict)

    def part(self, parts: Parts) -> gs.Tensor:
        """What a part makes of the rows and columns that it reads: one of each for a border.

        An image with fewer than it reads goes on with zeros.
        """
        weights, source = self.ring.weights[parts], self.source
        begins, ends = [], []
        for axis, extent, part in zip(
            (_ROWS, _COLUMNS), self.ring.whole.extents, parts, strict=True
        ):
            reads = extent.reads(part)
            if part == INNER:
                begins.append(-extent.begin)
                ends.append(reads - 1 + extent.begin)
            else:
                begins.append(reads - 1 if part == LAST else 0)
                ends.append(reads - 1 if part == FIRST else 0)
                source = self.outermost(source, axis, part, reads)
        kernel = {"kernel_shape": list(weights.weight.shape[2:]), "pads": [*begins, *ends]}
        operands = [
            self.view.constant(f"{self.stem}.merged_{role}", value)
            for role, value in zip(("weight", "bias"), _given(weights), strict=False)
        ]
        made = self.view.insert("Conv", [source, *operands], f"{self.stem}.merged", kernel)
        for axis, part in zip((_ROWS, _COLUMNS), parts, strict=True):
            if part != INNER and self.reads(axis, part) > 1:
                made = self.outermost(made, axis, part, 1)
        return made

    def corrected(self, image: gs.Tensor, axis: int, border: Part) -> gs.Tensor:
        """The image with its first or last row or column corrected, corners included with rows."""
        parts = (border, INNER) if axis == _ROWS else (INNER, border)
        corners = [(border, other) for other in _BORDERS] if axis == _ROWS else []
        if not any(p in self.ring.weights for p in (parts, *corners)):
            return image
        edge, others = self.split(image, axis, border)
        edge = self.added(edge, parts)
        for corner in corners:
            if corner in self.ring.weights:
                pixel, rest = self.split(edge, _COLUMNS, corner[1])
                edge = self.joined(self.added(pixel, corner), rest, _COLUMNS, corner[1])
        return self.joined(edge, others, axis, border)

    def added(self, edge: gs.Tensor, parts: Parts) -> gs.Tensor:
        """A part of the ring added to where it belongs."""
        weights = self.ring.weights.get(parts)
        if weights is None:
            return edge
        if weights.weight.any() or weights.bias is None:
            correction = self.part(parts)
        else:
            value = weights.bias.reshape(1, -1, 1, 1)
            correction = self.view.constant(f"{self.stem}.correction", value)
        return self.view.insert("Add", [edge, correction], f"{self.stem}.corrected")

    def reads(self, axis: int, border: Part) -> int:
        """How many rows or columns the parts of a border read."""
        return self.ring.whole.extents[axis - _ROWS].reads(border)

    def split(self, image: gs.Tensor, axis: int, border: Part) -> tuple[gs.Tensor, gs.Tensor]:
        """The first or last row or column, and all the others."""
        start, end = (1, _END) if border == FIRST else (0, -1)
        return self.outermost(image, axis, border, 1), self.slice(image, axis, start, end)

    def joined(self, edge: gs.Tensor, others: gs.Tensor, axis: int, border: Part) -> gs.Tensor:
        """What `split` took apart."""
        both = [edge, others] if border == FIRST else [others, edge]
        return self.view.insert("Concat", both, f"{self.stem}.joined", {"axis": axis})

    def outermost(self, image: gs.Tensor, axis: int, border: Part, count: int) -> gs.Tensor:
        """The first or last few rows or columns."""
        start, end = (0, count) if border == FIRST else (-count, _END)
        return self.slice(image, axis, start, end)

    def slice(self, image: gs.Tensor, axis: int, start: int, end: int) -> gs.Tensor:
        """Some rows or columns; the same ones are cut out once."""
        key = (image.name, axis, start, end)
        if key not in self.slices:
            bounds, name = {"starts": start, "ends": end, "axes": axis}, f"{self.stem}.cut"
            if self.view.opset < _BOUNDS_ARE_INPUTS:
                attributes = {k: [value] for k, value in bounds.items()}
                self.slices[key] = self.view.insert("Slice", [image], name, attributes)
            else:
                inputs = [image, *map(self.bound, bounds.values())]
                self.slices[key] = self.view.insert("Slice", inputs, name)
        return self.slices[key]

    def bound(self, value: int) -> gs.Tensor:
        """An integer as an initializer."""
        if value not in self.bounds:
            name = f"{self.stem}.at_{'end' if value == _END else value}"
            self.bounds[value] = self.view.constant(name, np.array([value], np.int64))
        return self.bounds[value]


def _given(weights: Weights) -> list[np.ndarray]:
    """The weight, and the bias unless it adds nothing."""
    bias = weights.bias
    return [weights.weight] if bias is None or not bias.any() else [weights.weight, bias]
