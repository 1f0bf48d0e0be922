"""What a model is run on to see whether it still computes the same: inputs chosen to hurt.

Every open dimension takes several values by itself (0 and 1 among them), those of one name
together. Floats are normal, as pictures are, and large; integers that index a table stay within it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx

from autogo_onnx import tensor_data
from autogo_onnx.errors import InputError
from autogo_onnx.inference import IR_WITH_DEFAULTED_INPUTS

Feed = Mapping[str, np.ndarray[Any, Any]]
Sizes = Mapping[str, int]
"""Values of open dimensions, by the keys that `Noise` gives them."""

BASE_SIZES = (32, 64, 48, 224, 16, 7, 1, 100, 512, 2, 3)
"""What open dimensions other than the batch are tried with until the model runs."""

INTEGER_LIMITS = (4, 2, 1)
"""Integers that are no known index are drawn below these, until the model runs."""

MOST_ELEMENTS = 2**27
"""Larger feeds are not drawn."""

MOST_ELEMENTS_AT_CHOICE = 2**22
"""Nor are these, where the size is ours to choose and a smaller one is possible."""

_LARGE = 30
_MOST_VARIED_ALONE = 4
# Operators that pass integers on to where they may serve as indices.
_PASSING = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze"}
    | {"Transpose", "Unsqueeze"}
)


@dataclass(frozen=True)
class Noise:
    """Random feeds of a model.

    Attributes:
        inputs: what must be fed.
        limits: for inputs that index a table, its length.
        channels: open dimensions that a convolution fixes.
        overridable: defaults of inputs that may be fed.
    """

    inputs: tuple[onnx.ValueInfoProto, ...]
    limits: Mapping[str, int]
    channels: Mapping[str, int]
    overridable: Mapping[str, np.ndarray[Any, Any]]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Noise:
        """Read the inputs of a model.

        Raises:
            InputError: an input is no tensor, or of a type that NumPy does not have.
        """
        weights = {t.name for t in model.graph.initializer}
        weights.update(t.values.name for t in model.graph.sparse_initializer)
        inputs = tuple(info for info in model.graph.input if info.name not in weights)
        for info in inputs:
            tensor = info.type.tensor_type
            if not tensor.elem_type:
                raise InputError(
                    f"input {info.name!r} is no tensor, so rewrites cannot be verified"
                )
            if not _is_plain(tensor.elem_type):
                kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
                raise InputError(f"input {info.name!r} is {kind}, which NumPy does not have")
        return cls(inputs, _index_limits(model), _channels(model, inputs), _overridable(model))

    @property
    def batch_keys(self) -> tuple[str, ...]:
        """Open dimensions that lead an input."""
        return self._keys(leading=True)

    @property
    def other_keys(self) -> tuple[str, ...]:
        """Open dimensions that lead none."""
        known = {*self.batch_keys, *self.channels}
        return tuple(k for k in self._keys(leading=False) if k not in known)

    def bases(self) -> Iterator[tuple[dict[str, int], int]]:
        """Sizes with a batch of one, and limits of plain integers, likely ones first."""
        has_integers = any(
            info.type.tensor_type.elem_type in _INTEGERS and info.name not in self.limits
            for info in self.inputs
        )
        batch, other = self.batch_keys, self.other_keys
        sizes = BASE_SIZES if other else BASE_SIZES[:1]
        for limit, size in product(INTEGER_LIMITS if has_integers else INTEGER_LIMITS[:1], sizes):
            yield {**self.channels, **dict.fromkeys(batch, 1), **dict.fromkeys(other, size)}, limit
        if batch:  # what leads may be no batch, but a length
            for size in (BASE_SIZES[0], BASE_SIZES[4], 2):
                yield {**self.channels, **dict.fromkeys((*batch, *other), size)}, INTEGER_LIMITS[0]

    def variations(self, base: Sizes) -> Iterator[list[dict[str, int]]]:
        """Other sizes than the base: of each list the first that runs is enough."""
        batch, other = self.batch_keys, self.other_keys

        def with_sizes(keys: tuple[str, ...], size: int) -> dict[str, int]:
            return {**base, **dict.fromkeys(keys, size)}

        for group in (batch, other):
            alone = [(key,) for key in group[:_MOST_VARIED_ALONE]]
            for keys in alone:
                # Where two must be equal, they can only vary together.
                together = [group] if len(group) > 1 else []
                yield [with_sizes(k, 0) for k in (keys, *together)]
                largest = base[keys[0]]
                tried = (3, 2) if group is batch else (1, 2, _odd(largest))
                for size in tried:
                    if size != largest:
                        yield [with_sizes(k, size) for k in (keys, *together)]
        if other:
            yield [with_sizes(other, size) for size in (9, 16, 64)]

    def elements(self, sizes: Sizes) -> int:
        """Size of a feed."""
        return sum(math.prod(_shape(info, sizes)) for info in self.inputs)

    def is_bearable(self, sizes: Sizes) -> bool:
        """Whether a feed is small enough to be drawn."""
        elements = self.elements(sizes)
        if not (self.batch_keys or self.other_keys):
            return elements <= MOST_ELEMENTS
        smallest = self.elements({**dict.fromkeys(sizes, 1), **self.channels})
        return elements <= min(MOST_ELEMENTS, max(MOST_ELEMENTS_AT_CHOICE, smallest))

    def draw(self, sizes: Sizes, limit: int, kind: str, rng: np.random.Generator) -> Feed:
        """One feed.

        Args:
            sizes: of all open dimensions.
            limit: integers that index nothing known lie below it.
            kind: of floats: "normal", "picture" (in [0, 1)), "large".
            rng: where values come from.
        """
        feed = {}
        for info in self.inputs:
            element = info.type.tensor_type.elem_type
            own_limit = self.limits.get(info.name)
            feed[info.name] = _values(element, _shape(info, sizes), own_limit, limit, kind, rng)
        return feed

    def overrides(self, rng: np.random.Generator) -> Feed:
        """Other values for the float initializers that the caller may override."""
        return {
            name: value * rng.uniform(0.5, 1.5, value.shape).astype(value.dtype)
            for name, value in self.overridable.items()
        }

    def _keys(self, *, leading: bool) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for info in self.inputs:
            dims = info.type.tensor_type.shape.dim
            for axis, (dim, key) in enumerate(zip(dims, _keys(info), strict=True)):
                if _is_open(dim) and (axis == 0) == leading:
                    found[key] = None
        return tuple(found)


_NARROW = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8})
_FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16})
_INTEGERS = tensor_data.PLAIN_TYPES - _FLOATS - {onnx.TensorProto.BOOL}


def _is_plain(element: int) -> bool:
    return element in _INTEGERS | _FLOATS | {onnx.TensorProto.BOOL, onnx.TensorProto.STRING}


def _is_open(dim: onnx.TensorShapeProto.Dimension) -> bool:
    return dim.dim_value <= 0 and not (dim.HasField("dim_value") and dim.dim_value == 0)


def _keys(info: onnx.ValueInfoProto) -> list[str]:
    """One key per dimension; equal where the name is. Some exporters name all of them "?"."""
    dims = info.type.tensor_type.shape.dim
    return [dim.dim_param.strip("?") or f"{info.name}:{axis}" for axis, dim in enumerate(dims)]


def _shape(info: onnx.ValueInfoProto, sizes: Sizes) -> list[int]:
    dims = info.type.tensor_type.shape.dim
    return [
        sizes[key] if _is_open(dim) else dim.dim_value
        for dim, key in zip(dims, _keys(info), strict=True)
    ]


def _odd(size: int) -> int:
    """Larger, and no multiple of two."""
    return size + 13 if size % 2 == 0 else size + 12


def _values(
    element: int,
    shape: list[int],
    index_limit: int | None,
    limit: int,
    kind: str,
    rng: np.random.Generator,
) -> np.ndarray[Any, Any]:
    if element == onnx.TensorProto.STRING:
        return np.asarray(rng.choice(np.array(["a", "b"], object), shape))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
    if element == onnx.TensorProto.BOOL:
        return rng.integers(0, 2, shape).astype(dtype)
    if element in _INTEGERS:
        if index_limit is not None:
            return rng.integers(0, max(1, min(index_limit, np.iinfo(dtype).max)), shape).astype(
                dtype
            )
        if element in _NARROW and limit == INTEGER_LIMITS[0]:
            bounds = np.iinfo(dtype)
            return rng.integers(bounds.min, bounds.max, shape, endpoint=True).astype(dtype)
        low = 1 if limit == 1 else 0
        return rng.integers(low, max(limit, low + 1), shape).astype(dtype)
    value = rng.random(shape) if kind == "picture" else rng.standard_normal(shape)
    return np.asarray(value * (_LARGE if kind == "large" else 1)).astype(dtype)


def _overridable(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    if model.ir_version < IR_WITH_DEFAULTED_INPUTS:
        return {}
    listed = {info.name for info in model.graph.input}
    return {
        t.name: tensor_data.value(t)
        for t in model.graph.initializer
        if t.name in listed and t.data_type == onnx.TensorProto.FLOAT
    }


def _channels(model: onnx.ModelProto, inputs: tuple[onnx.ValueInfoProto, ...]) -> dict[str, int]:
    """Open channel dimensions by their keys, where a convolution reads the input."""
    found: dict[str, int] = {}
    open_inputs = {
        info.name: _keys(info)[1]
        for info in inputs
        if len(info.type.tensor_type.shape.dim) > 1 and _is_open(info.type.tensor_type.shape.dim[1])
    }
    if not open_inputs:
        return found
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[0] in open_inputs and node.input[1] in weights:
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            found[open_inputs[node.input[0]]] = weights[node.input[1]][1] * group
    return found


def _index_limits(model: onnx.ModelProto) -> dict[str, int]:
    """Lengths of the tables that inputs index, the shortest where there are several."""
    graph = model.graph
    inputs = {info.name for info in graph.input if info.type.tensor_type.elem_type in _INTEGERS}
    if not inputs:
        return {}
    tables = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    origins = {name: {name} for name in inputs}
    limits: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _PASSING:
            origin = set().union(*(origins.get(name, set()) for name in node.input))
            if origin:
                origins[node.output[0]] = origin
        elif node.op_type in ("Gather", "GatherElements") and node.input[0] in tables:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            dims = tables[node.input[0]]
            for name in origins.get(node.input[1], ()) if -len(dims) <= axis < len(dims) else ():
                limits[name] = min(dims[axis], limits.get(name, dims[axis]))
    return limits
