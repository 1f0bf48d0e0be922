"""NAS-Bench-Macro: test accuracy on CIFAR-10 after 50 epochs, three trainings each.

Identity blocks after the first of a stage have no operators, so only the order of the other blocks
counts. The table gives the same three numbers to all encodings of a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from autogo_onnx.predictor_training.labels.labels import LabelledFamily, Labels, merged
from autogo_onnx.predictor_training.labels.neighbours import (
    Neighbours,
    differences,
    neighbours_by_edits,
)
from autogo_onnx.predictor_training.labels.table import read_table
from autogo_onnx.segment_db.families import nasbench_macro

FILE = "nasbench_macro/nasbench_macro_cifar10.csv.gz"
CODE = "arch"
RUNS = ("test_acc_run1", "test_acc_run2", "test_acc_run3")


def network(arch: str) -> str:
    """The blocks of every stage without the identities after its first block.

    >>> network("00101010") == network("00110010")
    True

    Raises:
        InputError: `arch` is not eight digits of 0, 1, 2.
    """
    nasbench_macro.check(arch)
    stages, start = [], 0
    for blocks, _ in nasbench_macro.STAGES:
        stages.append(arch[start] + arch[start + 1 : start + blocks].replace("0", ""))
        start += blocks
    return "|".join(stages)


def edits(arch: str) -> Iterator[str]:
    """The 16 chains with another block at one position."""
    for position, old in enumerate(arch):
        for new in "012":
            if new != old:
                yield arch[:position] + new + arch[position + 1 :]


def _neighbours(codes: Sequence[str]) -> Neighbours:
    return neighbours_by_edits(codes, network, edits)


def _read(tables: Path) -> tuple[Labels, ...]:
    path = tables / FILE
    table = read_table(path, (CODE, *RUNS))
    values = {row[CODE]: [table.number(row, run) for run in RUNS] for row in table.rows}
    chains = merged(values, network, path)
    return (
        Labels(
            family=nasbench_macro.NAME,
            task="cifar10",
            unit="test accuracy in percent",
            codes=tuple(chains),
            repeats=tuple(chains.values()),
            sha256=table.sha256,
            neighbours_among=_neighbours,
        ),
    )


FAMILY = LabelledFamily(nasbench_macro.NAME, _read, nasbench_macro.build, len, differences)
