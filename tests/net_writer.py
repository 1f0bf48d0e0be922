"""Nodes as exporters write them for a given opset: what is an attribute here is an input there."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Writer:
    """Collects nodes and initializers; spells operators for its opset.

    Attributes:
        opset: version of the ONNX operators, 7 or later.
        choice: where every free decision comes from.
    """

    def __init__(self, opset: int, choice: Random) -> None:
        self.opset, self.choice = opset, choice
        self.noise = np.random.default_rng(choice.randrange(2**16))
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.names_nodes = choice.random() < 0.8

    def node(self, kind: str, *operands: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; the name of its first output."""
        name = f"t{len(self.nodes)}"
        results = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        title = f"{kind}_{len(self.nodes)}" if self.names_nodes else None
        self.nodes.append(helper.make_node(kind, list(operands), results, title, **attributes))
        return name

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """An initializer, or now and then a Constant node; equal ones are not shared."""
        array: np.ndarray[Any, Any] = np.asarray(value, dtype)
        if self.choice.random() < 0.15 and (self.opset >= 9 or array.dtype == np.float32):
            return self.node("Constant", value=numpy_helper.from_array(array))
        name = f"k{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """A constant of normal noise."""
        return self.constant(scale * self.noise.standard_normal(shape))

    def integers(self, *values: int) -> str:
        """A vector of int64."""
        return self.constant(list(values), np.int64)

    def clip(self, x: str, low: float, high: float) -> str:
        """Values between two bounds."""
        if self.opset < 11:
            return self.node("Clip", x, min=low, max=high)
        return self.node("Clip", x, self.constant(low), self.constant(high))

    def pad(self, x: str, pads: Sequence[int], mode: str = "constant", value: float = 0.0) -> str:
        """More on every side of every axis, as ONNX orders it: all befores, then all afters."""
        if self.opset < 11:
            return self.node("Pad", x, pads=list(pads), mode=mode, value=value)
        operands = [x, self.integers(*pads)]
        if mode == "constant" and (value or self.choice.random() < 0.5):
            operands.append(self.constant(value))
        return self.node("Pad", *operands, mode=mode)

    def cut(self, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
        """A slice along one axis."""
        if self.opset < 10:
            return self.node("Slice", x, axes=[axis], starts=[start], ends=[end])
        operands = [x, *(self.integers(value) for value in (start, end, axis))]
        if step != 1 or self.choice.random() < 0.3:
            operands.append(self.integers(step))
        return self.node("Slice", *operands)

    def parts(self, x: str, axis: int, sizes: Sequence[int]) -> list[str]:
        """A tensor in parts of the given sizes."""
        if self.opset < 13:
            first = self.node("Split", x, outputs=len(sizes), axis=axis, split=list(sizes))
        else:
            first = self.node("Split", x, self.integers(*sizes), outputs=len(sizes), axis=axis)
        return [first, *(f"{first}_{i}" for i in range(1, len(sizes)))]

    def mean(self, x: str, axes: Sequence[int], *, keepdims: int = 1) -> str:
        """The mean over some axes."""
        if self.opset < 18:
            return self.node("ReduceMean", x, axes=list(axes), keepdims=keepdims)
        return self.node("ReduceMean", x, self.integers(*axes), keepdims=keepdims)

    def squeeze(self, x: str, *axes: int) -> str:
        """Without some axes of length one."""
        return self._reaxed("Squeeze", x, axes)

    def unsqueeze(self, x: str, *axes: int) -> str:
        """With more axes of length one."""
        return self._reaxed("Unsqueeze", x, axes)

    def enlarge(self, x: str, factor: int, mode: str) -> str:
        """Height and width times a whole number."""
        scales = np.array([1, 1, factor, factor], np.float32)
        if self.opset < 9:
            return self.node("Upsample", x, scales=scales.tolist(), mode=mode)
        if self.opset < 11:
            kind = "Upsample" if self.opset < 10 else "Resize"
            return self.node(kind, x, self.constant(scales), mode=mode)
        how: dict[str, Any] = {"nearest_mode": "floor"} if mode == "nearest" else {}
        grids = ["asymmetric", "half_pixel"] if mode == "linear" else ["asymmetric"]
        where = self.choice.choice(grids)
        roi = "" if self.opset >= 13 else self.constant([])
        return self.node(
            "Resize",
            *(x, roi, self.constant(scales)),
            mode=mode,
            coordinate_transformation_mode=where,
            **how,
        )

    def dropout(self, x: str) -> str:
        """Dropout as it is left in models: without effect."""
        if self.opset < 12:
            return self.node("Dropout", x, ratio=0.3)
        return self.node("Dropout", x, self.constant(0.3))

    def _reaxed(self, kind: str, x: str, axes: Sequence[int]) -> str:
        if self.opset < 13:
            return self.node(kind, x, axes=list(axes))
        return self.node(kind, x, self.integers(*axes))
