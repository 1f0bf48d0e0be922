"""Accel-NASBench: ImageNet top-1 accuracy after a short training recipe, one training each.

No two configurations are the same network. Thirteen stand in the table twice.
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
from autogo_onnx.segment_db.families import mbconv

FILE = "accel_nasbench/accel_nasbench.csv.gz"
CODE = ("expansion7", "kernel7", "layers7", "se7")
ACCURACY = "val_top1"


def edits(code: str) -> Iterator[str]:
    """The networks with one other choice in one stage."""
    columns = [column.split("-") for column in code.split(":")]
    choices = (mbconv.EXPANSIONS, mbconv.KERNELS, None, mbconv.EXCITED)
    for number, column in enumerate(columns):
        for stage, old in enumerate(column):
            for new in map(str, choices[number] or mbconv.LAYERS[stage]):
                if new != old:
                    other = [*columns]
                    other[number] = [*column[:stage], new, *column[stage + 1 :]]
                    yield ":".join(map("-".join, other))


def _network(code: str) -> str:
    mbconv.parse(code)
    return code


def _neighbours(codes: Sequence[str]) -> Neighbours:
    return neighbours_by_edits(codes, str, edits)


def _stages(code: str) -> tuple[tuple[str, ...], ...]:
    return tuple(zip(*(column.split("-") for column in code.split(":")), strict=True))


def _differing_stages(one: str, other: str) -> list[int]:
    return differences(_stages(one), _stages(other))


def _read(tables: Path) -> tuple[Labels, ...]:
    path = tables / FILE
    table = read_table(path, (*CODE, ACCURACY))
    values: dict[str, list[float]] = {}
    for row in table.rows:
        code = ":".join(row[column] for column in CODE)
        values.setdefault(code, []).append(table.number(row, ACCURACY))
    networks = merged(values, _network, path)
    return (
        Labels(
            family=mbconv.NAME,
            task="imagenet",
            unit="validation top-1 accuracy in percent",
            codes=tuple(networks),
            repeats=tuple(networks.values()),
            sha256=table.sha256,
            neighbours_among=_neighbours,
        ),
    )


FAMILY = LabelledFamily(mbconv.NAME, _read, mbconv.build, lambda code: 7, _differing_stages)
