"""The outer face of a model: its input and output tensors, and what differs between two faces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

Dim = int | str | None


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output as declared.

    Attributes:
        name: the tensor's name.
        dtype: ONNX element type; 0 when it is no dense tensor (sequence, optional, map).
        dims: a positive int where static, a str where named, None where unknown; None: no rank.
    """

    name: str
    dtype: int
    dims: tuple[Dim, ...] | None

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """The numpy type that ONNX Runtime takes for it."""
        return onnx.helper.tensor_dtype_to_np_dtype(self.dtype)

    @property
    def dtype_name(self) -> str:
        """ONNX's own name of the element type, in small letters."""
        return str(onnx.TensorProto.DataType.Name(self.dtype)).lower()


def inputs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """What a caller must feed: graph inputs that no initializer gives a default."""
    weights = {i.name for i in model.graph.initializer}
    weights.update(i.values.name for i in model.graph.sparse_initializer)
    return _specs(v for v in model.graph.input if v.name not in weights)


def outputs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The graph outputs in order."""
    return _specs(model.graph.output)


def problems(original: onnx.ModelProto, changed: onnx.ModelProto) -> list[str]:
    """What a caller of `original` would notice in `changed` without running it; empty if nothing.

    Names, order, element types and declared dimensions of inputs and outputs, and operator sets.
    """
    found = _face_problems("input", inputs(original), inputs(changed))
    found += _face_problems("output", outputs(original), outputs(changed))
    before, after = _opsets(original), _opsets(changed)
    if before != after:
        found.append(f"operator sets are {_spell(after)} instead of {_spell(before)}")
    return found


def _specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(v) for v in values)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dims = tuple(_dim(d) for d in tensor.shape.dim) if tensor.HasField("shape") else None
    return TensorSpec(value.name, tensor.elem_type, dims)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    # Some exporters write -1 or 0 for "any".
    return dim.dim_value if dim.dim_value > 0 else dim.dim_param or None


def _face_problems(
    kind: str, before: Sequence[TensorSpec], after: Sequence[TensorSpec]
) -> list[str]:
    names_before, names_after = [s.name for s in before], [s.name for s in after]
    if names_before != names_after:
        return [f"{kind}s are {names_after} instead of {names_before}"]
    found = []
    for old, new in zip(before, after, strict=True):
        if old.dtype != new.dtype:
            found.append(f"{kind} {old.name!r} is {new.dtype_name} instead of {old.dtype_name}")
        if old.dims != new.dims:
            found.append(
                f"{kind} {old.name!r} is declared {_spell(new.dims)} instead of {_spell(old.dims)}"
            )
    return found


def _opsets(model: onnx.ModelProto) -> dict[str, int]:
    # "" and "ai.onnx" are two spellings of the default domain.
    return {o.domain or "ai.onnx": o.version for o in sorted(model.opset_import, key=str)}


def _spell(value: object) -> str:
    return "without a shape" if value is None else str(value).replace("None", "?")
