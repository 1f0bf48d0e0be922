"""How well any predictor can rank at all: `python -m benchmarks.noise_ceiling --tables DIR`.

Trainings of one network differ. Where a family has several of a network, its labels say how much,
and with that how far from 1 the rank correlation of a perfect predictor stays. Prints a markdown
table:

- networks: those with at least two trainings, whose values differ;
- two trainings: Spearman between one training of each and another, mean over 100 choices;
- spread: standard deviation of a training around its network's mean, in the labels' unit; the
  median over networks;
- ceiling: Spearman of a perfect predictor with the family's labels. The labels stand for the truth;
  to every one an error is added, divided by the root of the number of its trainings. It is drawn
  from those networks of known errors that are nearest in accuracy: 30 of them, or a quarter where
  they are few. Mean of 100 draws. As labels are spread wider than the truth, it is slightly too
  high.

Encodings of one network are its trainings where the table has no others, see
`predictor_training.labels`. For NAS-Bench-101 they are those of two tables. TransNAS-Bench-101's
macro networks were trained once; their errors are taken to be those of the micro ones in that task.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autogo_onnx.predictor_training.judging import spearman
from autogo_onnx.predictor_training.labels import (
    MEASURED,
    Labels,
    nasbench101,
    read,
    transnasbench101,
)
from autogo_onnx.predictor_training.labels.table import read_table

Trainings = Sequence[Sequence[float]]

DRAWS, FEWEST = 100, 8
SECOND_TABLE, HASH = "nasbench101_naslib/nb101_500.csv.gz", "nb101_hash"


@dataclass(frozen=True)
class Ceiling:
    """What repeated trainings tell of a family's labels."""

    networks: int
    repeated: float
    spread: float
    ceiling: float


def ceiling_of(labels: Labels, trainings: Trainings, seed: int = 0) -> Ceiling:
    """The ceiling of labels whose noise is that of `trainings`, at least two of each network."""
    generator = np.random.default_rng(seed)
    pairs = [[generator.permutation(values)[:2] for values in trainings] for _ in range(DRAWS)]
    deviations = [float(np.std(values, ddof=1)) for values in trainings]
    return Ceiling(
        networks=len(trainings),
        repeated=float(np.mean([spearman(*np.transpose(drawn)) for drawn in pairs])),
        spread=float(np.median(deviations)),
        ceiling=_ceiling(labels, trainings, generator),
    )


def _ceiling(labels: Labels, trainings: Trainings, generator: np.random.Generator) -> float:
    """Mean rank correlation of the labels with themselves plus errors like those of trainings."""
    ranked = sorted(trainings, key=np.mean)
    counts = np.array([len(values) for values in ranked])
    errors = np.concatenate([np.array(values) - np.mean(values) for values in ranked])
    # The mean is fitted to its n values, which makes their errors smaller.
    errors *= np.repeat(np.sqrt(counts / (counts - 1)), counts)
    starts = np.cumsum(counts) - counts
    nearest = min(30, max(5, len(ranked) // 4))
    place = np.searchsorted([np.mean(values) for values in ranked], labels.accuracies)
    first = np.clip(place - nearest // 2, 0, len(ranked) - nearest)
    root = np.sqrt([len(values) for values in labels.repeats])
    found = []
    for _ in range(DRAWS):
        near = first + generator.integers(0, nearest, len(first))
        error = errors[starts[near] + generator.integers(0, counts[near])]
        found.append(spearman(labels.accuracies, labels.accuracies + error / root))
    return float(np.mean(found))


def trainings_of(labels: Labels, tables: Path) -> list[Sequence[float]]:
    """Several trainings of every network that has them, whose errors are like those of `labels`."""
    if labels.family == nasbench101.FAMILY.name:
        return list(_nasbench101_trainings(tables))
    if labels.family == transnasbench101.MACRO.name:
        micro = read(tables, (transnasbench101.MICRO.name,))
        labels = next(other for other in micro if other.task == labels.task)
    return [values for values in labels.repeats if len(set(values)) > 1]


def _nasbench101_trainings(tables: Path) -> Iterator[list[float]]:
    """Different values of one cell in the two tables."""
    column = {nasbench101.FILE: nasbench101.ACCURACY, SECOND_TABLE: "val_acc_108ep"}
    cells: dict[str, set[float]] = {}
    for file in (SECOND_TABLE, nasbench101.FILE):
        table = read_table(tables / file, (HASH, column[file]))
        for row in table.rows:
            if file == SECOND_TABLE or row[HASH] in cells:
                value = round(100 * table.number(row, column[file]), 4)
                cells.setdefault(row[HASH], set()).add(value)
    for values in cells.values():
        if len(values) > 1:
            yield sorted(values)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Rank correlations that noise allows.")
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--family", nargs="*", default=MEASURED)
    chosen = parser.parse_args()
    print(
        "| labels | networks | two trainings, Spearman | spread | ceiling |\n|---|---|---|---|---|"
    )
    for labels in read(chosen.tables, chosen.family):
        trainings = trainings_of(labels, chosen.tables)
        if len(trainings) < FEWEST:
            print(f"| {labels.name} | {len(trainings)} | | | |")
            continue
        found = ceiling_of(labels, trainings)
        print(
            f"| {labels.name} | {found.networks:,} | {found.repeated:.3f} | {found.spread:.3g} "
            f"| {found.ceiling:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
