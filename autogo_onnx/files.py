"""Files written in one step, and a check before a long run that results will have a place."""

from __future__ import annotations

import os
from pathlib import Path

from autogo_onnx.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, or change nothing; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file in one step, or change nothing.

    Raises:
        InputError: the folder does not exist or cannot be written, or the path is a device.
    """
    _refuse_special(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
        raise


def check_writable(path: Path) -> None:
    """Refuse a path that could not be written as a file.

    Raises:
        InputError: it is a folder or a device, or its folder is missing or cannot be written.
    """
    folder = path.parent
    if path.is_dir():
        raise InputError(f"{path}: is a folder, a file is wanted")
    _refuse_special(path)
    if not folder.is_dir():
        raise InputError(f"{path}: cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written: no permission in {folder}")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where missing.

    Raises:
        InputError: it cannot be made, or is no folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made: {error.strerror or error}") from None


def _refuse_special(path: Path) -> None:
    """A file that takes the path of a device or pipe would end it: `/dev/null`, for everyone."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is a device or pipe, a file is wanted")
