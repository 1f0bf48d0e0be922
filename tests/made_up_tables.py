"""Small tables of labels in the form of the published ones, with accuracies made up."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from itertools import product
from pathlib import Path

from autogo_onnx.predictor_training.labels import nasbench201 as nasbench201_labels
from autogo_onnx.predictor_training.labels import nasbench_macro as nasbench_macro_labels
from autogo_onnx.segment_db.families import nasbench201

NASBENCH201, MACRO = nasbench201_labels.FILE, nasbench_macro_labels.FILE


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A gzipped CSV file; no value may hold a comma."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(header), *(",".join(map(str, row)) for row in rows), ""]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def write_tables(folder: Path) -> None:
    """45 cells of NAS-Bench-201 (26 networks) and 27 chains of NAS-Bench-Macro.

    Accuracies rise with the weights: a predictor can learn them from a few rows.
    """
    worth = {"nor_conv_1x1": 1.0, "nor_conv_3x3": 3.0}
    cells = []
    operations = ("nor_conv_1x1", "nor_conv_3x3", "skip_connect")
    for a, b, c in product(operations, operations, nasbench201.OPERATIONS):
        arch = nasbench201.encode((a, "none", b, c, "none", "skip_connect"))
        cells.append((arch, 80 + sum(worth.get(operation, 0.0) for operation in (a, b, c))))
    header = (nasbench201_labels.CODE, nasbench201_labels.ACCURACY)
    write_table(folder / NASBENCH201, header, cells)
    chains = [f"1{a}2{b}01{c}0" for a, b, c in product("012", repeat=3)]
    write_table(
        folder / MACRO,
        (nasbench_macro_labels.CODE, *nasbench_macro_labels.RUNS),
        [(chain, *(70 + sum(map(int, chain)) + run for run in (-0.5, 0, 0.5))) for chain in chains],
    )
