"""NAS-Bench-201: mean test accuracy on CIFAR-10 after 200 epochs.

The table's column `iso_unique_str` is not used: it tells cells apart by branches that reach no
output, and takes one convolution read twice for two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from autogo_onnx.predictor_training.labels.four_node_cells import Meaning, network_of
from autogo_onnx.predictor_training.labels.labels import LabelledFamily, Labels, merged
from autogo_onnx.predictor_training.labels.neighbours import Neighbours, neighbours_by_edits
from autogo_onnx.predictor_training.labels.table import read_table
from autogo_onnx.segment_db.families import nasbench201

FILE = "nasbench201_test_acc/nb201_test_acc.csv.gz"
CODE, ACCURACY = "arch_str", "c10_test_mean_200ep"
_MEANING = Meaning(zero="none", identity="skip_connect", average="avg_pool_3x3")


@lru_cache(maxsize=1 << 14)
def network(arch: str) -> str:
    """What a cell computes; "" when no path leads to its output.

    >>> network("|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|")
    'x'
    """
    return network_of(nasbench201.parse(arch).operations, _MEANING)


def edits(arch: str) -> Iterator[str]:
    """The 24 cells with another operation on one edge."""
    operations = nasbench201.parse(arch).operations
    for edge, old in enumerate(operations):
        for new in nasbench201.OPERATIONS:
            if new != old:
                yield nasbench201.encode((*operations[:edge], new, *operations[edge + 1 :]))


def _neighbours(codes: Sequence[str]) -> Neighbours:
    return neighbours_by_edits(codes, network, edits)


def _read(tables: Path) -> tuple[Labels, ...]:
    path = tables / FILE
    table = read_table(path, (CODE, ACCURACY))
    values = {row[CODE]: [table.number(row, ACCURACY)] for row in table.rows}
    cells = merged(values, network, path)
    return (
        Labels(
            family=nasbench201.NAME,
            task="cifar10",
            unit="test accuracy in percent",
            codes=tuple(cells),
            repeats=tuple(cells.values()),
            sha256=table.sha256,
            neighbours_among=_neighbours,
        ),
    )


FAMILY = LabelledFamily(nasbench201.NAME, _read, nasbench201.build, lambda arch: 15)
