"""The values of stored tensors, wherever they lie: in the message, or in a file it refers to.

The weights of large models stay in their files. In memory such a tensor *refers* to its values: it
is external data whose location is an absolute path. Files never say that (`model.load` refuses it),
so whoever meets a reference knows that it was made here, and that the file was checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
import onnx.numpy_helper

from autogo_onnx.errors import InputError

Array = np.ndarray[Any, Any]

PLAIN_TYPES = frozenset(
    {
        onnx.TensorProto.BOOL,
        onnx.TensorProto.INT8,
        onnx.TensorProto.INT16,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT64,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.UINT16,
        onnx.TensorProto.UINT32,
        onnx.TensorProto.UINT64,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
    }
)
"""Element types that NumPy has too; values of other types are never looked at."""

LARGE_BYTES = 2**16
"""Smaller tensors are not worth a way of their own."""

_CHUNK_BYTES = 2**24
_PACKED_BITS = {"INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4} | {
    "FLOAT6E2M3": 6,
    "FLOAT6E3M2": 6,
}
_BITS = {
    kind: _PACKED_BITS.get(name) or 8 * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
    for name, kind in onnx.TensorProto.DataType.items()
    if name not in ("UNDEFINED", "STRING")
}


@dataclass(frozen=True)
class Place:
    """Where the values of a tensor lie, as raw data.

    Attributes:
        path: of the file, absolute.
        offset, length: in bytes.
        stamp: what the file was like; empty for one that only we write to.
    """

    path: Path
    offset: int
    length: int
    stamp: str = ""


def place(tensor: onnx.TensorProto) -> Place | None:
    """Where a tensor that refers to its values has them; None when it holds them itself."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = Path(entries.get("location", ""))
    if not path.is_absolute():
        return None
    stamp = entries.get("checksum", "")
    return Place(path, int(entries["offset"]), int(entries["length"]), stamp)


def checked_place(tensor: onnx.TensorProto) -> Place | None:
    """`place`, of a file that is still the one that was read.

    Raises:
        InputError: it is gone, or it was changed.
    """
    where = place(tensor)
    if where is not None and where.stamp and where.stamp != stamp(where.path):
        raise InputError(f"{where.path}: was changed or removed while it was needed")
    return where


def refer(tensor: onnx.TensorProto, to: Place, location: str | None = None) -> None:
    """Make the tensor refer to values in a file.

    Args:
        tensor: keeps its name, type and dimensions.
        to: where the values are.
        location: what to call the file for others; by default it is a reference for us.
    """
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": location or str(to.path), "offset": to.offset, "length": to.length}
    if location is None and to.stamp:
        entries["checksum"] = to.stamp
    for key, entry in entries.items():
        tensor.external_data.add(key=key, value=str(entry))


def take_in(tensor: onnx.TensorProto) -> None:
    """Read the values that a tensor refers to into it."""
    raw = b"".join(chunks(tensor))
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    tensor.raw_data = raw


def taken_in(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The tensor, or where it refers to its values a copy that holds them."""
    if place(tensor) is None:
        return tensor
    held = header(tensor)
    held.raw_data = b"".join(chunks(tensor))
    return held


def header(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Name, type, dimensions and remarks without the values."""
    bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    if tensor.doc_string:
        bare.doc_string = tensor.doc_string
    bare.metadata_props.extend(tensor.metadata_props)
    return bare


def value(tensor: onnx.TensorProto) -> Array:
    """The values, to be read only; those in a file are mapped, so what is not read costs nothing.

    Raises:
        InputError: the file is gone, or it was changed.
    """
    where = checked_place(tensor)
    if where is None:
        return onnx.numpy_helper.to_array(tensor)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    try:
        return np.memmap(where.path, dtype, "r", where.offset, tuple(tensor.dims))
    except OSError:  # Too many files are mapped already.
        raw = np.fromfile(where.path, np.uint8, where.length, offset=where.offset)
        return raw.view(dtype).reshape(tuple(tensor.dims))


def chunks(tensor: onnx.TensorProto) -> Iterator[bytes]:
    """The values as raw data, piece by piece where they lie in a file.

    Raises:
        InputError: the file is gone, or it was changed.
    """
    where = checked_place(tensor)
    if where is None:
        yield tensor.raw_data or _raw(tensor)
        return
    with where.path.open("rb") as file:
        file.seek(where.offset)
        left = where.length
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise InputError(f"{where.path}: became shorter while it was needed")
            left -= len(chunk)
            yield chunk


def _raw(tensor: onnx.TensorProto) -> bytes:
    """The values of a tensor that holds them in a typed field, as raw data: packed where it is."""
    return bytes(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data)


def byte_size(tensor: onnx.TensorProto) -> int:
    """Bytes that the values take as raw data; of strings and unknown types, those of the message.

    >>> byte_size(onnx.TensorProto(data_type=onnx.TensorProto.INT4, dims=[3, 3]))
    5
    """
    bits = _BITS.get(tensor.data_type)
    if bits is None:
        return int(tensor.ByteSize())
    return int(math.prod(tensor.dims) * bits + 7) // 8


def align(file: IO[bytes], unit_bytes: int) -> int:
    """Fill a file with zeros up to a multiple of some size; where that is."""
    file.write(b"\0" * (-file.tell() % unit_bytes))
    return int(file.tell())


def stamp(path: Path) -> str:
    """What tells a file from another one of that name, or from itself after a change.

    Raises:
        InputError: there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    return f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}"
