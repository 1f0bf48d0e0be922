"""NAS-Bench-101: validation accuracy on CIFAR-10 after 108 epochs, one training each.

The table has 30,001 of the 423,624 cells; 5,000 of them are drawn with a fixed seed. Cells are the
same when an order of their vertices makes them so.
"""

from __future__ import annotations

import random
from pathlib import Path

from autogo_onnx.predictor_training.labels.labels import LabelledFamily, Labels, merged
from autogo_onnx.predictor_training.labels.nasbench101_cells import near, network
from autogo_onnx.predictor_training.labels.table import read_table
from autogo_onnx.segment_db.families import nasbench101

FILE = "nasbench101_nbvis/nb101_30k.csv.gz"
EDGES, OPERATIONS, ACCURACY = "upper_tri_adj", "interior_ops", "val_acc_108ep"
SAMPLE = 5000
_NAMES = {"c3": "conv3x3", "c1": "conv1x1", "mp": "maxpool3x3"}


def code_of(row: dict[str, str]) -> str:
    """The code of a row of the table.

    >>> code_of({"upper_tri_adj": "110101", "interior_ops": "c3|mp"})
    '110101:conv3x3-maxpool3x3'
    """
    operations = row[OPERATIONS].split("|") if row[OPERATIONS] else []
    return f"{row[EDGES]}:{'-'.join(_NAMES.get(name, name) for name in operations)}"


def _read(tables: Path) -> tuple[Labels, ...]:
    path = tables / FILE
    table = read_table(path, (EDGES, OPERATIONS, ACCURACY))
    rows = sorted(table.rows, key=lambda row: (row[EDGES], row[OPERATIONS]))
    chosen = random.Random(0).sample(rows, min(SAMPLE, len(rows)))
    values = {code_of(row): [100 * table.number(row, ACCURACY)] for row in chosen}
    cells = merged(values, network, path)
    return (
        Labels(
            family=nasbench101.NAME,
            task="cifar10",
            unit="validation accuracy in percent",
            codes=tuple(cells),
            repeats=tuple(cells.values()),
            sha256=table.sha256,
            neighbours_among=near,
        ),
    )


FAMILY = LabelledFamily(nasbench101.NAME, _read, nasbench101.build, lambda code: 9)
