"""Published tables of networks and their accuracies: the labels of the predictor.

A table has a row per *encoding*. Many encodings are one network: branches that reach no output,
sums in another order, identity blocks that commute. Networks, not encodings, are what is counted,
split and drawn here, so the same network never stands on both sides of a split. (The column
`iso_unique_str` of NAS-Bench-201's table is not enough: it tells cells apart by dead branches.)
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro


@dataclass(frozen=True)
class Labels:
    """The networks of one family.

    Attributes:
        family: the family's name.
        archs: one encoding per network, ascending.
        accuracies: test accuracy in percent, the mean over the network's encodings; float64[N].
        neighbours: per network, those that another choice at one place of `archs[i]` makes.
        sha256: of the table's file.
    """

    family: str
    archs: tuple[str, ...]
    accuracies: NDArray[np.float64]
    neighbours: tuple[tuple[int, ...], ...]
    sha256: str

    def standardized(self) -> NDArray[np.float64]:
        """Accuracies with mean 0 and standard deviation 1 over the family; float64[N]."""
        deviation = self.accuracies.std()
        standard: NDArray[np.float64] = (self.accuracies - self.accuracies.mean()) / deviation
        return standard


@dataclass(frozen=True)
class _Table:
    """Where a family's table lies and how its encodings are read."""

    family: str
    file: str
    arch: str
    accuracy: str
    network: Callable[[str], str]
    edits: Callable[[str], Iterable[str]]


def read(tables: Path) -> tuple[Labels, ...]:
    """The labels of all families that the predictor is trained on, from a folder of tables.

    Raises:
        InputError: a table is missing, unreadable or lacks a column.
    """
    return tuple(_labels(tables, table) for table in _TABLES)


@lru_cache(maxsize=1 << 14)
def nasbench201_network(arch: str) -> str:
    """What a cell computes, sums flat and sorted; "" when no path leads to its output.

    >>> nasbench201_network("|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|")
    'x'
    """
    cell = nasbench201.parse(arch)

    def terms(node: int) -> list[str]:
        if node == 0:
            return ["x"]
        found: list[str] = []
        for begin, operation in cell.into(node):
            inner = [] if operation == "none" else terms(begin)
            if inner and operation != "skip_connect":
                inner = [f"{operation}({'+'.join(sorted(inner))})"]
            found += inner
        return found

    return "+".join(sorted(terms(3)))


def nasbench201_edits(arch: str) -> Iterable[str]:
    """The 24 cells with another operation on one edge."""
    operations = nasbench201.parse(arch).operations
    for edge, old in enumerate(operations):
        for new in nasbench201.OPERATIONS:
            if new != old:
                yield nasbench201.encode((*operations[:edge], new, *operations[edge + 1 :]))


def macro_network(arch: str) -> str:
    """The blocks of every stage without the identities after its first block.

    >>> macro_network("00101010") == macro_network("00110010")
    True
    """
    stages, start = [], 0
    for blocks, _ in nasbench_macro.STAGES:
        stages.append(arch[start] + arch[start + 1 : start + blocks].replace("0", ""))
        start += blocks
    return "|".join(stages)


def macro_edits(arch: str) -> Iterable[str]:
    """The 16 chains with another block at one position."""
    for position, old in enumerate(arch):
        for new in "012":
            if new != old:
                yield arch[:position] + new + arch[position + 1 :]


_TABLES = (
    _Table(
        family=nasbench201.NAME,
        file="nasbench201_test_acc/nb201_test_acc.csv.gz",
        arch="arch_str",
        accuracy="c10_test_mean_200ep",
        network=nasbench201_network,
        edits=nasbench201_edits,
    ),
    _Table(
        family=nasbench_macro.NAME,
        file="nasbench_macro/nasbench_macro_cifar10.csv.gz",
        arch="arch",
        accuracy="mean_acc",
        network=macro_network,
        edits=macro_edits,
    ),
)


def _labels(tables: Path, table: _Table) -> Labels:
    path = tables / table.file
    rows, sha256 = _rows(path, table)
    encodings: dict[str, list[str]] = {}
    for arch in sorted(rows):
        if network := table.network(arch):
            encodings.setdefault(network, []).append(arch)
    if len(encodings) < 2:
        raise InputError(f"{path}: fewer than two networks; nothing to compare")
    number = {network: index for index, network in enumerate(encodings)}
    archs = tuple(same[0] for same in encodings.values())
    return Labels(
        family=table.family,
        archs=archs,
        accuracies=np.array([np.mean([rows[a] for a in same]) for same in encodings.values()]),
        neighbours=tuple(
            tuple(sorted({number.get(table.network(e), i) for e in table.edits(arch)} - {i}))
            for i, arch in enumerate(archs)
        ),
        sha256=sha256,
    )


def _rows(path: Path, table: _Table) -> tuple[dict[str, float], str]:
    """Accuracy by encoding, and the hash of the file."""
    try:
        data = path.read_bytes()
        reader = csv.DictReader(io.StringIO(gzip.decompress(data).decode("utf-8"), newline=""))
        rows = {row[table.arch]: float(row[table.accuracy]) for row in reader}
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the table {path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        wanted = f"columns {table.arch} and {table.accuracy} (a number)"
        raise InputError(f"the table {path} needs {wanted}: {error}") from error
    return rows, hashlib.sha256(data).hexdigest()
