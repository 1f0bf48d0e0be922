"""A file for weights of large models that have no file of their own, and would fill the memory."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
import onnx

from autogo_onnx.errors import InputError
from autogo_onnx.tensor_data import Array, Place, align, chunks, header, refer

# ONNX asks for whole pages, so that the file can be mapped into memory.
_PAGE_BYTES = 4096
_ON_DISK = "/var/tmp"


def put_aside(name: str, array: Array) -> onnx.TensorProto:
    """A tensor that refers to a copy of the array in the file, which lasts as long as the program.

    Raises:
        InputError: there is no room for it.
    """
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
    refer(tensor, _appended([np.ascontiguousarray(array).data]))
    return tensor


def moved_aside(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """A tensor that refers to a copy of the values of another; see `put_aside`."""
    moved = header(tensor)
    refer(moved, _appended(chunks(tensor)))
    return moved


def _appended(pieces: Iterable[bytes | memoryview]) -> Place:
    try:
        file = _scratch()
        offset = align(file, _PAGE_BYTES)
        for piece in pieces:
            file.write(piece)
        file.flush()
        return Place(Path(file.name), offset, file.tell() - offset)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"no room on disk for large weights ({folder()}): {why}") from None


@cache
def _scratch() -> IO[bytes]:
    """The one file for values that have no file yet, in the system's folder for large ones."""
    made = tempfile.mkdtemp(prefix="autogo-onnx-", dir=folder())
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made, "weights").open("xb")


def folder() -> str:
    """Where there is room; the usual folder is often in memory, which files are to spare."""
    usual = tempfile.gettempdir()
    is_roomy = usual == "/tmp" and os.access(_ON_DISK, os.W_OK | os.X_OK)
    return _ON_DISK if is_roomy else usual
