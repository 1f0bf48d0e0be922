"""An ONNX model as a file and as a value: load, check, save, fix and infer shapes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import google.protobuf.message
import onnx
import onnx.checker
import onnx.external_data_helper

from autogo_onnx.errors import InputError
from autogo_onnx.facts import prove
from autogo_onnx.inference import copy_fields, forget_shapes

# A protobuf message cannot exceed 2 GiB; the graph itself needs some room beside the weights.
_LARGEST_FILE_BYTES = 2**31 - 2**24
_EXTERNAL_FROM_BYTES = 1024


def load(path: Path) -> onnx.ModelProto:
    """Read and check a model, external data included.

    External data is read only from the folder of the model (symbolic links resolved), and its
    size is checked against the file before anything is allocated.

    Raises:
        InputError: missing, not ONNX, truncated, invalid, or external data missing or elsewhere.
    """
    path = Path(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except google.protobuf.message.DecodeError:
        raise InputError(f"{path}: not an ONNX file, or truncated") from None
    if not model.HasField("graph") or not model.opset_import:
        raise InputError(f"{path}: not an ONNX file, or truncated (no graph or no opset)")
    external = [t for t in _tensors(model) if onnx.external_data_helper.uses_external_data(t)]
    for tensor in external:
        _check_external(tensor, path.parent)
    try:
        if external:
            onnx.checker.check_model(str(path))
            onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        else:
            onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise InputError(f"{path}: invalid model: {_first_line(error)}") from None
    return model


def has_external_data(path: Path) -> bool:
    """Whether the file keeps some of its tensors in other files."""
    model = onnx.load(path, load_external_data=False)
    return any(onnx.external_data_helper.uses_external_data(t) for t in _tensors(model))


def has_unread_data(model: onnx.ModelProto) -> bool:
    """Whether a model in memory leaves values of tensors in other files."""
    return any(onnx.external_data_helper.uses_external_data(t) for t in _tensors(model))


def needs_external_data(model: onnx.ModelProto) -> bool:
    """Whether the model is too large for one file (2 GiB)."""
    return sum(_byte_size(tensor) for tensor in _tensors(model)) > _LARGEST_FILE_BYTES


def save(model: onnx.ModelProto, path: Path, *, external_data: bool = False) -> None:
    """Write the model in one step: either the whole file appears or nothing changes.

    Args:
        model: what to write; it is not changed.
        path: the file; with external data, `<path>.data` is written beside it first.
        external_data: keep the weights in a file of their own (forced above 2 GiB).

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = path.with_name(path.name + ".data")
    temporary_data = path.with_name(f".{data.name}.{os.getpid()}.tmp")
    try:
        if external_data or needs_external_data(model):
            model = _moved_out(model, temporary_data, data.name)
        with temporary.open("xb") as file:
            file.write(model.SerializeToString(deterministic=True))
            file.flush()
            os.fsync(file.fileno())
        if temporary_data.exists():
            temporary_data.replace(data)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        for leftover in (temporary, temporary_data):
            if leftover.exists():
                leftover.unlink()


def fix_inputs(
    model: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]]
) -> onnx.ModelProto:
    """A copy of the model whose named inputs have concrete dimensions.

    Raises:
        InputError: no such input, another rank, or a declared dimension that differs.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    _fix(fixed, input_shapes)
    return fixed


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model in which every tensor carries the shape that can be proven.

    Declared shapes of inputs are taken as given, since ONNX Runtime enforces them; all others are
    forgotten first, since shipped models declare wrong ones. Where inference fails altogether the
    copy carries no shapes.
    """
    inferred = onnx.ModelProto()
    inferred.CopyFrom(model)
    forget_shapes(inferred.graph)
    types = prove(model).types
    outputs = {output.name: output for output in inferred.graph.output}
    for name in (name for node in model.graph.node for name in node.output if name in types):
        info = outputs[name] if name in outputs else inferred.graph.value_info.add(name=name)
        info.type.CopyFrom(types[name])
    return inferred


def tensor_shapes(
    model: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors that are static for these input shapes.

    Args:
        model: any model.
        input_shapes: full shapes by input name; inputs that are not named keep their declared one.

    Returns:
        Shapes by tensor name: inputs, initializers, and everything inference could derive.
    """
    facts = prove(fix_inputs(model, input_shapes or {}))
    shapes = {name: facts.static_shape(name) for name in facts.types}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _fix(model: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]]) -> None:
    inputs = {info.name: info for info in model.graph.input}
    for name, shape in input_shapes.items():
        if name not in inputs:
            raise InputError(f"the model has no input {name!r}; its inputs are {sorted(inputs)}")
        tensor = inputs[name].type.tensor_type
        if not tensor.HasField("shape"):
            tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in shape)
        dims = tensor.shape.dim
        fits = len(dims) == len(shape) and all(
            not d.HasField("dim_value") or d.dim_value in (-1, size)
            for d, size in zip(dims, shape, strict=True)
        )
        if not fits:
            declared = [d.dim_param or d.dim_value for d in dims]
            raise InputError(f"input {name!r} is declared {declared}, not {list(shape)}")
        for dim, size in zip(dims, shape, strict=True):
            dim.dim_value = size


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors stored in the model: initializers and attributes, subgraphs included."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _graph_tensors(graph)


def _check_external(tensor: onnx.TensorProto, folder: Path) -> None:
    """Refuse external data outside the folder, missing, or shorter than it is said to be."""
    info = onnx.external_data_helper.ExternalDataInfo(tensor)
    file = (folder / info.location).resolve()
    where = f"external data {info.location!r} of tensor {tensor.name!r}"
    if not info.location or not file.is_relative_to(folder.resolve()):
        raise InputError(f"{where} lies outside the folder of the model")
    if not file.is_file():
        raise InputError(f"{where} is missing; expected {file}")
    end = (info.offset or 0) + (info.length or 0)
    if end > file.stat().st_size:
        raise InputError(f"{where} is truncated: {end} bytes needed, {file.stat().st_size} there")


def _moved_out(model: onnx.ModelProto, data: Path, location: str) -> onnx.ModelProto:
    """A copy of the model whose larger initializers lie in the file `data`, named `location`."""
    moved = onnx.ModelProto()
    copy_fields(model, moved, without=("graph",))
    copy_fields(model.graph, moved.graph, without=("initializer",))
    with data.open("xb") as file:
        for tensor in model.graph.initializer:
            stored = moved.graph.initializer.add()
            if tensor.data_type == onnx.TensorProto.STRING or (
                _byte_size(tensor) < _EXTERNAL_FROM_BYTES
            ):
                stored.CopyFrom(tensor)
                continue
            raw = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
            stored.name, stored.data_type = tensor.name, tensor.data_type
            stored.dims.extend(tensor.dims)
            stored.raw_data = raw
            file.write(b"\0" * (-file.tell() % 64))
            onnx.external_data_helper.set_external_data(
                stored, location, offset=file.tell(), length=len(raw)
            )
            stored.ClearField("raw_data")
            file.write(raw)
    return moved


def _byte_size(tensor: onnx.TensorProto) -> int:
    return len(tensor.raw_data) if tensor.HasField("raw_data") else int(tensor.ByteSize())


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
