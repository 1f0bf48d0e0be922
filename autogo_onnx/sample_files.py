"""Arrays and labels from files: nothing is unpickled, and sizes are checked before memory is taken.

Formats: `.npy` (numpy's own, any version), `.npz` (a zip of them, one per name), and for labels
also `.csv`: one class index per line, in the last column, under an optional header line.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from autogo_onnx.errors import InputError

MAX_BYTES = 4 << 30
"""More samples than this are a mistake: a few hundred saturate every fit."""

# What numpy and the zip reader raise on a file that is not what it claims to be.
_BROKEN = (
    *(OSError, ValueError, EOFError, SyntaxError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, TokenError),
)


def read_array(path: Path) -> np.ndarray:
    """The array of a `.npy` file.

    Raises:
        InputError: no such file, not that format, Python objects, or above MAX_BYTES.
    """
    try:
        with path.open("rb") as file:
            check_bytes(_announced_bytes(file), str(path))
            file.seek(0)
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except _BROKEN as error:
        raise InputError(f"{path} is no readable .npy file: {_line(error)}") from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, in the file's order.

    Raises:
        InputError: as `read_array`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            check_bytes(sum(m.file_size for m in members), str(path))
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except _BROKEN as error:
        raise InputError(f"{path} is no readable .npz file: {_line(error)}") from error


def stack_arrays(paths: Sequence[Path]) -> np.ndarray:
    """One sample per `.npy` file, stacked along a new leading axis.

    Raises:
        InputError: as `read_array`, or two files differ in shape or type.
    """
    first = read_array(paths[0])
    check_bytes(first.nbytes * len(paths), f"{paths[0].parent} with {len(paths)} files")
    samples = [first]
    for path in paths[1:]:
        sample = read_array(path)
        if sample.shape != first.shape or sample.dtype != first.dtype:
            raise InputError(
                f"samples differ: {paths[0]} is {first.dtype} {list(first.shape)}, "
                f"{path} is {sample.dtype} {list(sample.shape)}"
            )
        samples.append(sample)
    return np.stack(samples)


def read_labels(path: Path, count: int, classes: int | None) -> np.ndarray:
    """Class indices int64[count] from `.npy` or `.csv`.

    Args:
        path: the file.
        count: how many there must be.
        classes: indices must lie below this, if known.

    Raises:
        InputError: unreadable, not whole numbers, another count, or out of range.
    """
    labels = read_array(path) if path.suffix == ".npy" else _read_csv(path)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise InputError(
            f"labels {path} are {labels.dtype} {list(labels.shape)}: whole numbers [N] are needed"
        )
    if len(labels) != count:
        raise InputError(f"labels {path}: {len(labels)} for {count} samples")
    top = classes if classes is not None else np.iinfo(np.int64).max
    outside = np.flatnonzero((labels < 0) | (labels >= top))
    if len(outside):
        place = int(outside[0])
        raise InputError(
            f"labels {path}: number {place} is {int(labels[place])}, "
            f"class indices run from 0 to {top - 1}"
        )
    return labels.astype(np.int64)


def check_bytes(size: int, what: str) -> None:
    """Refuse what would not fit into memory.

    Raises:
        InputError: `size` is above MAX_BYTES.
    """
    if size > MAX_BYTES:
        raise InputError(
            f"{what} takes {size / (1 << 30):.1f} GiB in memory, "
            f"at most {MAX_BYTES >> 30} are read: use fewer samples"
        )


def _announced_bytes(file: IO[bytes]) -> int:
    """Size of the array from its header alone."""
    version = npy_format.read_magic(file)
    read_header = (
        npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    )
    shape, _, dtype = read_header(file)
    size = dtype.itemsize
    for dim in shape:
        size *= dim
    return int(size)


def _read_csv(path: Path) -> np.ndarray:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            cells = [row[-1].strip() for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"labels {path} cannot be read: {_line(error)}") from error
    if cells and not _is_index(cells[0]):
        cells = cells[1:]
    for line, cell in enumerate(cells, start=1):
        if not _is_index(cell):
            raise InputError(f"labels {path}: entry {line} is {cell!r}, no class index")
    return np.array([int(c) for c in cells], dtype=np.int64)


def _is_index(cell: str) -> bool:
    # 18 digits fit into an int64.
    return cell.isascii() and cell.isdigit() and len(cell) <= 18


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
