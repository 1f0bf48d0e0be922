"""An ONNX model as a file and as a value: load, check, fix and infer shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import google.protobuf.message
import onnx
import onnx.checker
import onnx.external_data_helper

from autogo_onnx import tensor_data, untrusted
from autogo_onnx.errors import InputError
from autogo_onnx.facts import prove
from autogo_onnx.inference import IR_WITH_DEFAULTED_INPUTS, forget_shapes
from autogo_onnx.messages import external_tensors, is_large, lightened, stored_bytes
from autogo_onnx.saving import has_external_data as has_external_data
from autogo_onnx.saving import needs_external_data as needs_external_data
from autogo_onnx.saving import save as save
from autogo_onnx.scratch import moved_aside
from autogo_onnx.tensor_data import Place, byte_size

_IN_MEMORY_BYTES = 2**29
"""External data up to this size is read; that of larger models stays in its files."""
_IN_MESSAGE_BYTES = 2**30


def load(path: Path) -> onnx.ModelProto:
    """Read and check a model, external data included.

    External data is read only from the folder of the model (symbolic links resolved), and its
    size is checked against the file before anything is allocated. Where it is larger than 512 MB
    the large initializers are not read: they refer to the file, see `tensor_data`. So do those of
    a file without external data above 1 GB, to a copy of it.

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
    places = [(tensor, _found(tensor, path.parent)) for tensor in external_tensors(model)]
    if not places:
        check(model, str(path))
        return _spread_out(model)
    untrusted.check(model)
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise _invalid(str(path), error) from None
    is_big = sum(where.length for _, where in places) > _IN_MEMORY_BYTES
    heavy = {id(tensor): tensor for tensor in (_heavy(model) if is_big else ())}
    for tensor, where in places:
        tensor_data.refer(tensor, where)
        if id(tensor) not in heavy:
            tensor_data.take_in(tensor)
    return model


def check(model: onnx.ModelProto, name: str = "") -> None:
    """Refuse a model that ONNX's checker objects to; weights are neither copied nor read.

    Args:
        model: of any size.
        name: for the message.

    Raises:
        InputError: it is invalid.
    """
    untrusted.check(model)

    def empty(tensor: onnx.TensorProto) -> onnx.TensorProto:
        return onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0])

    try:
        for tensor in model.graph.initializer:
            _check_size(tensor)
        onnx.checker.check_model(lightened(model, empty))
    except (onnx.checker.ValidationError, google.protobuf.message.EncodeError, ValueError) as error:
        raise _invalid(name, error) from None


def has_unread_data(model: onnx.ModelProto) -> bool:
    """Whether a model in memory leaves values of tensors in other files."""
    return any(True for _ in external_tensors(model))


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
    light = lightened(model, tensor_data.header)
    weights = {t.name: partial(tensor_data.value, t) for t in model.graph.initializer}
    facts = prove(fix_inputs(light, input_shapes or {}), weights)
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


def _spread_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """A large model with its weights in a file, which is mapped where they are needed."""
    if stored_bytes(model) <= _IN_MESSAGE_BYTES:
        return model
    heavy = {tensor.name for tensor in _heavy(model)}
    try:
        return lightened(model, lambda t: moved_aside(t) if t.name in heavy else t)
    except InputError:
        return model  # There is no room on the disk; there may be enough memory.


def _heavy(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The initializers that are worth leaving in their files, and that nobody may override."""
    overridable: set[str] = set()
    if model.ir_version >= IR_WITH_DEFAULTED_INPUTS:
        overridable = {info.name for info in model.graph.input}
    return [t for t in model.graph.initializer if is_large(t) and t.name not in overridable]


def _found(tensor: onnx.TensorProto, folder: Path) -> Place:
    """Where the external data is; refused outside the folder, missing, or shorter than it must be.

    The length need not be given; it follows from the shape. So does the offset: it is 0.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"external data {location[:200]!r} of tensor {tensor.name!r}"
    try:
        file = (folder / location).resolve()
        is_inside = bool(location) and file.is_relative_to(folder.resolve())
        is_missing = is_inside and not file.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a circle of links, no text
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where} cannot be found: {reason}") from None
    if not is_inside:
        raise InputError(f"{where} lies outside the folder of the model")
    if is_missing:
        raise InputError(f"{where} is missing; expected {file}")
    needed = byte_size(tensor)
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or needed)
    except ValueError:
        raise InputError(f"{where} has an offset or length that is no number") from None
    if offset < 0 or length < 0 or needed < 0 or length != needed:
        raise InputError(f"{where} is {length} bytes at {offset}, not the {needed} of its shape")
    if offset + length > file.stat().st_size:
        size = file.stat().st_size
        raise InputError(f"{where} is truncated: {offset + length} bytes needed, {size} there")
    return Place(file, offset, length, tensor_data.stamp(file))


def _check_size(tensor: onnx.TensorProto) -> None:
    """The checker does not compare the values with the shape."""
    if tensor_data.place(tensor) is not None:
        return
    wanted = byte_size(tensor)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != wanted:
            raise ValueError(
                f"tensor {tensor.name!r} has {len(tensor.raw_data)} bytes, not {wanted}"
            )
    elif tensor.ByteSize() * 16 < wanted:  # a value is a byte at least; a complex number has two
        raise ValueError(f"tensor {tensor.name!r} has not the {wanted} bytes of its shape")


def _invalid(name: str, error: Exception) -> InputError:
    lines = (line.strip() for line in str(error).splitlines())
    prefix = f"{name}: " if name else ""
    return InputError(f"{prefix}invalid model: {next(filter(None, lines), repr(error))}")
