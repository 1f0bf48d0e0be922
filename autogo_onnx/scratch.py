"""A file for weights of large models that have no file of their own, and would fill the memory.

It is locked as long as its process lives, which tells it from one that a killed process left.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
import onnx

from autogo_onnx.errors import InputError
from autogo_onnx.tensor_data import Array, Place, align, chunks, header, refer

# ONNX asks for whole pages, so that the file can be mapped into memory.
_PAGE_BYTES = 4096
_ON_DISK = "/var/tmp"
_PREFIX = "autogo-onnx-"
_NAME = "weights"
_LOCK = Lock()  # Plans are realized side by side.


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
        with _LOCK:
            file, path = _scratch()
            offset = align(file, _PAGE_BYTES)
            for piece in pieces:
                file.write(piece)
            file.flush()
            return Place(path, offset, file.tell() - offset)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"no room on disk for large weights ({folder()}): {why}") from None


@cache
def _scratch() -> tuple[IO[bytes], Path]:
    """The one file for values that have no file yet, in the system's folder for large ones."""
    _remove_left()
    made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder()))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    file, path = (made / "new").open("xb"), made / _NAME
    fcntl.flock(file, fcntl.LOCK_EX)
    Path(file.name).rename(path)  # Only now others look at it.
    return file, path


def _remove_left() -> None:
    """Remove what killed processes of this user left: their files are no longer locked."""
    for file in Path(folder()).glob(f"{_PREFIX}*/{_NAME}"):
        try:
            is_ours = file.parent.lstat().st_uid == os.getuid() and not file.parent.is_symlink()
            with file.open("rb") as left:
                fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # It is in use, or gone by now.
        if is_ours:
            shutil.rmtree(file.parent, ignore_errors=True)


def short_lived() -> tempfile.TemporaryDirectory[str]:
    """A folder where there is room, to be used in a `with` statement: it is gone afterwards."""
    return tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder())


def folder() -> str:
    """Where there is room; the usual folder is often in memory, which files are to spare."""
    usual = tempfile.gettempdir()
    is_roomy = usual == "/tmp" and os.access(_ON_DISK, os.W_OK | os.X_OK)
    return _ON_DISK if is_roomy else usual
