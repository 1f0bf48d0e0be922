"""Published tables: gzipped CSV files, one architecture a row."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autogo_onnx.errors import InputError


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes:
        path: its file.
        rows: text by column.
        sha256: of the file.
    """

    path: Path
    rows: tuple[dict[str, str], ...]
    sha256: str

    def number(self, row: dict[str, str], column: str) -> float:
        """A finite number of a row.

        Raises:
            InputError: the row has something else there.
        """
        try:
            number = float(row[column])
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"the table {self.path} has {column} = {row[column]!r}, not a number")
        return number


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """A table that has at least these columns.

    Raises:
        InputError: it cannot be read or lacks a column.
    """
    try:
        data = path.read_bytes()
        text = gzip.decompress(data).decode("utf-8")
        rows = tuple(csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the table {path}: {error}") from error
    missing = [column for column in columns if not rows or column not in rows[0]]
    if missing:
        raise InputError(f"the table {path} needs rows with a column {', '.join(missing)}")
    return Table(path, rows, hashlib.sha256(data).hexdigest())
