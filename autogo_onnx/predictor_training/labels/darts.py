"""DARTS, 545 pairs of cells trained on CIFAR-10 for 50 epochs, and NAS-Bench-301's surrogate.

Pairs of cells are the same when orders of their nodes make them so. Values of the surrogate are
predictions themselves: good for comparing, never for training what is shipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import permutations
from pathlib import Path

from autogo_onnx.predictor_training.labels.labels import LabelledFamily, Labels, merged
from autogo_onnx.predictor_training.labels.neighbours import Neighbours, neighbours_by_edits
from autogo_onnx.predictor_training.labels.table import Table, read_table
from autogo_onnx.segment_db.families import darts
from autogo_onnx.segment_db.families.darts_cell import OPERATIONS, Cell, parse

FILE = "darts_oncenas/darts_545.csv.gz"
CELLS, ACCURACY = ("normal_cell_from_op", "reduce_cell_from_op"), "acc_50ep"
SURROGATE_FILE = "nasbench301_naslib/nb301_darts.csv.gz"
SURROGATE_CELLS = ("normal_cell_pairs_from_op", "reduce_cell_pairs_from_op")
SURROGATE = "cifar10_val_acc_SURROGATE"


@lru_cache(maxsize=1 << 12)
def network(code: str) -> str:
    """A text that is equal for pairs of cells that are the same; "" when a cell has no output.

    >>> normal = "0:skip_connect,1:sep_conv_3x3,0:sep_conv_5x5,1:none"
    >>> rest = "0:none,1:none,0:none,1:none"
    >>> swapped = "0:sep_conv_5x5,1:none,0:skip_connect,1:sep_conv_3x3"
    >>> network(f"{normal},{rest}/{normal},{rest}") == network(f"{swapped},{rest}/{normal},{rest}")
    True
    """
    cells = parse(code)
    return " / ".join(map(_cell, cells)) if all(cell.live() for cell in cells) else ""


def edits(code: str) -> Iterator[str]:
    """The pairs of cells with another operation, or an operation that starts elsewhere."""
    halves = [[part.split(":") for part in half.split(",")] for half in code.split("/")]
    for half in halves:
        for number, (begin, operation) in enumerate(half):
            other_begin = half[number ^ 1][0]
            changed = [[begin, new] for new in OPERATIONS if new != operation]
            starts = map(str, range(2 + number // 2))
            changed += [[new, operation] for new in starts if new not in (begin, other_begin)]
            for edge in changed:
                half[number] = edge
                yield "/".join(",".join(map(":".join, h)) for h in halves)
            half[number] = [begin, operation]


def _cell(cell: Cell) -> str:
    """The least way to write the operations with an effect, among orders of the nodes."""
    live = cell.live()
    written = []
    for order in permutations(range(2, 2 + len(live))):
        place = dict(zip(live, order, strict=True)) | {0: 0, 1: 1}
        if all(place[begin] < place[node] for node, edges in live.items() for begin, _ in edges):
            written.append(
                sorted(
                    (place[node], sorted((place[begin], operation) for begin, operation in edges))
                    for node, edges in live.items()
                )
            )
    return repr(min(written))


def _neighbours(codes: Sequence[str]) -> Neighbours:
    """Only edits to operations that some pair of cells has are looked at closely."""
    known = set(map(_operations, codes))
    return neighbours_by_edits(
        codes, network, lambda code: (e for e in edits(code) if _operations(e) in known)
    )


def _operations(code: str) -> tuple[tuple[str, ...], ...]:
    """The operations with an effect in either cell, in no order."""
    return tuple(
        tuple(sorted(operation for edges in cell.live().values() for _, operation in edges))
        for cell in parse(code)
    )


def _code(row: Mapping[str, str], columns: Sequence[str]) -> str:
    """The generator's code; operations may be given by their numbers."""
    names = dict(zip(map(str, range(len(OPERATIONS))), OPERATIONS, strict=True))
    edges = ([part.partition(":") for part in row[column].split()] for column in columns)
    return "/".join(
        ",".join(f"{begin}:{names.get(operation, operation)}" for begin, _, operation in half)
        for half in edges
    )


def _labels(family: str, table: Table, cells: Sequence[str], accuracy: str) -> Labels:
    values: dict[str, list[float]] = {}
    for row in table.rows:
        if row[accuracy]:
            values.setdefault(_code(row, cells), []).append(table.number(row, accuracy))
    pairs = merged(values, network, table.path)
    return Labels(
        family=family,
        task="cifar10",
        unit="test accuracy in percent",
        codes=tuple(pairs),
        repeats=tuple(pairs.values()),
        sha256=table.sha256,
        neighbours_among=_neighbours,
    )


def _read_trained(tables: Path) -> tuple[Labels, ...]:
    table = read_table(tables / FILE, (*CELLS, ACCURACY))
    return (_labels(darts.FAMILY.name, table, CELLS, ACCURACY),)


def _read_surrogate(tables: Path) -> tuple[Labels, ...]:
    table = read_table(tables / SURROGATE_FILE, (*SURROGATE_CELLS, SURROGATE))
    labels = _labels(darts.NASBENCH301_FAMILY.name, table, SURROGATE_CELLS, SURROGATE)
    unit = "validation accuracy in percent, predicted by the NAS-Bench-301 surrogate"
    return (replace(labels, unit=unit),)


FAMILY = LabelledFamily(darts.FAMILY.name, _read_trained, darts.build, darts.n_cells)
NASBENCH301 = LabelledFamily(
    darts.NASBENCH301_FAMILY.name,
    _read_surrogate,
    partial(darts.build, setting=darts.NASBENCH301),
    partial(darts.n_cells, setting=darts.NASBENCH301),
)
