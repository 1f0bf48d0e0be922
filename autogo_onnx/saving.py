"""Writing a model, with its weights in the same file or in one beside it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import IO

import google.protobuf.message
import onnx

from autogo_onnx.errors import InputError
from autogo_onnx.messages import (
    copy_fields,
    external_tensors,
    lightened,
    refers_to_files,
    stored_bytes,
)
from autogo_onnx.tensor_data import (
    LARGE_BYTES,
    Place,
    align,
    byte_size,
    chunks,
    header,
    place,
    refer,
    taken_in,
)

# A protobuf message cannot exceed 2 GiB; the graph itself needs some room beside the weights.
_LARGEST_FILE_BYTES = 2**31 - 2**24
_EXTERNAL_FROM_BYTES = 1024
# ONNX asks for whole pages, so that the file can be mapped into memory; not for small tensors.
_PAGE_BYTES = 4096
_ITEM_BYTES = 64


def has_external_data(path: Path) -> bool:
    """Whether the file keeps some of its tensors in other files."""
    return bool(_data_files(path))


def needs_external_data(model: onnx.ModelProto) -> bool:
    """Whether the model is too large for one file (2 GiB)."""
    return stored_bytes(model) > _LARGEST_FILE_BYTES


def save(
    model: onnx.ModelProto,
    path: Path,
    *,
    external_data: bool = False,
    source: Path | None = None,
) -> None:
    """Write the model in one step: either all of it appears or nothing changes.

    The result needs no other folder than its own: weights that the model refers to are copied, from
    file to file. In place of the model that was read it may be written too.

    Args:
        model: what to write; it is not changed.
        path: the file; with external data, `<path>.data` is written beside it. Where that is the
            data file of another model, `<path>.2.data` is.
        external_data: keep the weights in a file of their own (forced above 2 GiB).
        source: the file that the model was made from, whose data must outlive the writing.

    Raises:
        InputError: the folder does not exist or cannot be written, `path` holds the source's
            weights, or the weights are gone.
    """
    path, data = Path(path), None
    try:
        if source is not None and path.resolve() in _data_files(source):
            raise InputError(f"{path}: holds the weights of {source}")
        if external_data or needs_external_data(model):
            data = path.with_name(_data_name(path, source))
        with _replacing(path, data) as (file, data_file):
            if data is not None and data_file is not None:
                model = _moved_out(model, data_file, data.name)
            elif refers_to_files(model):
                model = lightened(model, taken_in)
            file.write(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    except google.protobuf.message.EncodeError:
        raise InputError(f"{path}: cannot be written: the graph alone exceeds 2 GB") from None


@contextmanager
def _replacing(path: Path, data: Path | None) -> Iterator[tuple[IO[bytes], IO[bytes] | None]]:
    """Two files to write, which take the places of `path` and `data` together at the end."""
    temporary, temporary_data = _beside(path, "tmp"), data and _beside(data, "tmp")
    old = None
    try:
        with temporary.open("xb") as file:
            if temporary_data is None:
                yield file, None
            else:
                with temporary_data.open("xb") as data_file:
                    yield file, data_file
                    _settle(data_file)
            _settle(file)
        if data is not None and temporary_data is not None:
            old = _put(temporary_data, data)
        try:
            temporary.replace(path)
        except BaseException:  # an interrupt must not leave the old model with new weights either
            if data is not None:
                data.unlink()
                if old is not None:
                    old.replace(data)
            raise
    finally:
        for leftover in (temporary, temporary_data, old):
            if leftover is not None and leftover.exists():
                leftover.unlink()


def _put(new: Path, data: Path) -> Path | None:
    """Let a file take the place of another; where that one is now, if there was one."""
    if not data.exists():
        new.replace(data)
        return None
    old = _beside(data, "old")
    data.replace(old)
    try:
        new.replace(data)
    except OSError:
        old.replace(data)
        raise
    return old


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{what}")


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _data_name(path: Path, source: Path | None) -> str:
    """A name for the data file that no model needs but the one being replaced.

    A model that replaces another takes over its data file too.
    """
    mine = _data_files(path) if path.exists() else set()
    if source is not None and source.resolve() != path.resolve():
        mine -= _data_files(source)
    names = chain([f"{path.name}.data"], (f"{path.name}.{n}.data" for n in count(2)))
    return next(
        name
        for name in names
        if path.with_name(name).resolve() in mine or not path.with_name(name).exists()
    )


def _data_files(path: Path) -> set[Path]:
    """The files that a model's file names; none where it is no model."""
    # Nearly all models name none, which is seen without taking the whole message apart.
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return set()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b"location") < 0:
                return set()
    try:
        model = onnx.load(path, load_external_data=False)
    except google.protobuf.message.DecodeError:
        return set()
    entries = (entry for tensor in external_tensors(model) for entry in tensor.external_data)
    return {(path.parent / e.value).resolve() for e in entries if e.key == "location"}


def _moved_out(model: onnx.ModelProto, file: IO[bytes], location: str) -> onnx.ModelProto:
    """A copy of the model whose larger initializers are written to `file`, which is `location`."""
    moved = onnx.ModelProto()
    copy_fields(model, moved, without=("graph",))
    copy_fields(model.graph, moved.graph, without=("initializer",))
    written: dict[Place, int] = {}
    for tensor in model.graph.initializer:
        where, size = place(tensor), byte_size(tensor)
        is_text = tensor.data_type == onnx.TensorProto.STRING
        if where is None and (is_text or size < _EXTERNAL_FROM_BYTES):
            moved.graph.initializer.append(tensor)
            continue
        offset = written.get(where) if where is not None else None
        if offset is None:
            offset = align(file, _PAGE_BYTES if size >= LARGE_BYTES else _ITEM_BYTES)
            for chunk in chunks(tensor):
                file.write(chunk)
        if where is not None:
            written[where] = offset  # Tensors that shared their values still do.
        stored = header(tensor)
        refer(stored, Place(Path(location), offset, size), location)
        moved.graph.initializer.append(stored)
    return moved
