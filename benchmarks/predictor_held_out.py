"""Within a family: networks without labels ranked by a predictor that has seen others of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autogo_onnx.predictor_training.accuracy import sites_of
from autogo_onnx.predictor_training.dataset import Dataset, deviations
from autogo_onnx.predictor_training.judging import (
    Calibration,
    NeighbourFigures,
    Rewrites,
    calibration,
    changes_of,
    neighbour_figures,
    rewrites,
    spearman,
)
from autogo_onnx.predictor_training.labels import Labels
from autogo_onnx.predictor_training.network_rows import Site, middle_sites
from benchmarks.predictor_models import (
    COUNTS,
    DIFFERENCES,
    MACS,
    TREES,
    Floats,
    Model,
    SiteRows,
    fit_differences,
    fit_values,
)

SHARE, FEW, FEWEST = "80 %", "1,024", "300"
SIZES = {SHARE: 1 << 30, FEW: 1024, FEWEST: 300}


@dataclass(frozen=True)
class Split:
    """Networks of a family to train on, in order, and those to judge by."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """What one model reached on one split.

    Attributes:
        size: which labels it was trained on.
        calibration: of its deviations, multiplied by the scale that a part of the labels gave; None
            for models other than the trees.
    """

    name: str
    size: str
    model: str
    seed: int
    spearman: float
    neighbours: NeighbourFigures
    calibration: Calibration | None = None


def split(labels: Labels, seed: int) -> Split:
    """A fifth of the networks is held out."""
    order = np.random.default_rng(seed).permutation(len(labels.codes)).tolist()
    fifth = len(order) // 5
    return Split(tuple(order[fifth:]), tuple(order[:fifth]))


def sites_needed(labels: Labels, seed: int) -> list[Site]:
    """All places at which the benchmark looks at networks with this seed."""
    parts = split(labels, seed)
    sites = middle_sites(labels, range(len(labels.codes)))
    sites += sites_of(labels, parts.train)
    for one in rewrites(labels, parts.held_out, seed):
        sites += [*one.before, *one.after]
    return sites


def run(labels: Labels, seed: int, cache: Path | None) -> list[Result]:
    """All models and sizes on one split of one family and task."""
    parts = split(labels, seed)
    rows = SiteRows(labels, sites_needed(labels, seed), cache)
    found = rewrites(labels, parts.held_out, seed)
    judge = _Judge(labels, parts.held_out, found)
    results = []
    # Differences and calibration are looked at with one number of labels only.
    closer = FEW if len(parts.train) > SIZES[FEW] else SHARE
    for size, count in SIZES.items():
        if size != SHARE and count >= len(parts.train):
            continue
        networks = parts.train[:count]
        values = deviations(labels.accuracies, networks)
        data = data_of(labels, networks, values, rows)
        for model in (TREES, COUNTS, MACS):
            fitted = fit_values(data, rows, model, seed)
            scale = None
            if model == TREES and size == closer:
                scale = _scale(labels, networks, values, rows, seed)
            results.append(judge(fitted, (size, model, seed), values, scale))
        if size == closer:
            pairs = fit_differences(labels, networks, values, rows, seed)
            results.append(judge(pairs, (size, DIFFERENCES, seed), values, None))
    return results


def data_of(labels: Labels, networks: Sequence[int], values: Floats, rows: SiteRows) -> Dataset:
    """The training rows of some networks; each network counts 1."""
    sites = sites_of(labels, networks)
    numbers = np.array([number for number, _ in sites], np.int64)
    return Dataset(rows.at(sites), values[numbers], 1 / np.bincount(numbers)[numbers], numbers)


@dataclass(frozen=True)
class _Judge:
    """The figures of a model on held-out networks and the neighbours among them."""

    labels: Labels
    held_out: Sequence[int]
    found: Sequence[Rewrites]

    def __call__(
        self, model: Model, what: tuple[str, str, int], values: Floats, scale: float | None
    ) -> Result:
        predicted = model.value(middle_sites(self.labels, self.held_out))
        truths = values[list(self.held_out)]
        near = neighbour_figures(self.labels, self.found, changes_of(self.found, model.change))
        sure = None
        if scale is not None:
            sure = calibration(predicted.mean, predicted.deviation * scale, truths)
        return Result(self.labels.name, *what, spearman(predicted.mean, truths), near, sure)


def _scale(
    labels: Labels, networks: Sequence[int], values: Floats, rows: SiteRows, seed: int
) -> float:
    """What deviations are multiplied by, measured on a fifth of the labels."""
    fifth = len(networks) // 5
    left_out, rest = networks[:fifth], networks[fifth:]
    data = data_of(labels, rest, values, rows)
    model = fit_values(data, rows, TREES, seed)
    predicted = model.value(middle_sites(labels, left_out))
    return calibration(predicted.mean, predicted.deviation, values[list(left_out)]).scale
