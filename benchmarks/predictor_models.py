"""What the benchmark of the predictor compares: one learner, other columns or other targets.

- `trees`: the value of a network, all columns that describe it. It is what is shipped.
- `operator counts`: the same with counts of operators, parameters and multiply-accumulates only.
- `MACs`: multiply-accumulates only.
- `differences`: the change between two networks, from the rows of both. A network's value is the
  mean, over 8 networks with labels, of their value plus the predicted change. It is fitted to pairs
  at their middle places, so only where all places are alike are its neighbours a fair comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import features
from autogo_onnx.features import Rows
from autogo_onnx.predictor import Predicted
from autogo_onnx.predictor_training.dataset import Dataset, value_columns
from autogo_onnx.predictor_training.ensemble import Ensemble, Recipe, fit
from autogo_onnx.predictor_training.labels import Labels
from autogo_onnx.predictor_training.network_rows import Site, middle_sites, rows_of
from benchmarks.predictor_pairs import draw

Floats = NDArray[np.float64]

TREES, COUNTS, MACS, DIFFERENCES = "trees", "operator counts", "MACs", "differences"
RECIPE = Recipe(bins=64)
"""Of the models within a family; 255 bins rank no better and take 1.6 times as long."""
ANCHORS, MOST_PAIRS = 8, 4096


class Model(Protocol):
    """What is compared.

    Must:
        - say the value of networks, each seen at one of its places;
        - say the change from each network of `before` to that of `after`, at the same place.
    """

    def value(self, sites: Sequence[Site]) -> Predicted:
        """Value of networks and its deviation, in deviations of the family."""
        ...

    def change(self, before: Sequence[Site], after: Sequence[Site]) -> Floats:
        """Value after less that before."""
        ...


class SiteRows:
    """The rows of a family's networks at some of their places.

    Args:
        sites: all that will be asked for.
        cache: a folder where rows are kept.
    """

    def __init__(self, labels: Labels, sites: Sequence[Site], cache: Path | None) -> None:
        distinct = sorted({(n, place.start, place.stop) for n, place in sites})
        self._number = {key: number for number, key in enumerate(distinct)}
        found = [(n, range(start, stop)) for n, start, stop in distinct]
        self._rows = rows_of(labels, found, cache=cache)

    def at(self, sites: Sequence[Site]) -> Rows:
        """Rows float32[N,F]."""
        return self._rows[[self._number[n, place.start, place.stop] for n, place in sites]]


@dataclass(frozen=True)
class Values:
    """A model of the value of a network."""

    ensemble: Ensemble
    rows: SiteRows

    def value(self, sites: Sequence[Site]) -> Predicted:
        """Predicted value and its deviation, of networks at places."""
        return self.ensemble.predict(self.rows.at(sites))

    def change(self, before: Sequence[Site], after: Sequence[Site]) -> Floats:
        """Predicted value after less that before."""
        return self.value(after).mean - self.value(before).mean


@dataclass(frozen=True)
class Differences:
    """A model of the change from one network to another.

    Attributes:
        anchors: networks with labels, at their middle places, and their values.
    """

    ensemble: Ensemble
    rows: SiteRows
    anchors: tuple[tuple[Site, float], ...]

    def value(self, sites: Sequence[Site]) -> Predicted:
        """Mean and deviation over the anchors."""
        found = [
            known + self.change([anchor] * len(sites), sites) for anchor, known in self.anchors
        ]
        return Predicted(np.mean(found, axis=0), np.std(found, axis=0))

    def change(self, before: Sequence[Site], after: Sequence[Site]) -> Floats:
        """Predicted change, float64[N]."""
        return self.ensemble.predict(_paired(self.rows.at(before), self.rows.at(after))).mean


def columns_of(model: str) -> tuple[int, ...]:
    """Numbers of the columns that a model of values may use."""
    every = value_columns()
    names = {number: features.COLUMNS[number].partition(".")[2] for number in every}
    if model == TREES:
        return every
    macs = tuple(n for n in every if names[n] == "macs_log2")
    if model == MACS:
        return macs
    return macs + tuple(
        n for n in every if names[n].endswith("_ops") or names[n] == "parameters_log2"
    )


def fit_values(data: Dataset, rows: SiteRows, model: str, seed: int) -> Values:
    """A model of values; with few columns every split may choose from all of them."""
    chosen = RECIPE if model == TREES else replace(RECIPE, column_share=1.0)
    return Values(fit(data, columns_of(model), chosen, seed), rows)


def fit_differences(
    labels: Labels, networks: Sequence[int], values: Floats, rows: SiteRows, seed: int
) -> Differences:
    """A model of changes, fitted to neighbours and to pairs drawn from all networks."""
    pairs = draw(labels, networks, neighbours=4, others=24, seed=seed)
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:MOST_PAIRS]
    parents, children = np.array(pairs)[np.sort(chosen)].T
    middle = dict(middle_sites(labels, networks))
    before = rows.at([(n, middle[n]) for n in parents.tolist()])
    after = rows.at([(n, middle[n]) for n in children.tolist()])
    changes = values[children] - values[parents]
    data = Dataset(_paired(before, after), changes, np.ones(len(changes)), parents)
    recipe = replace(RECIPE, members=1, leaves=31)
    anchors = np.random.default_rng(seed).choice(networks, ANCHORS, replace=False).tolist()
    return Differences(
        fit(data, range(data.rows.shape[1]), recipe, seed),
        rows,
        tuple(((n, middle[n]), float(values[n])) for n in anchors),
    )


def _paired(before: Rows, after: Rows) -> Rows:
    """Rows of pairs: the network after, and what has changed."""
    columns = list(value_columns())
    return np.concatenate([after[:, columns], after[:, columns] - before[:, columns]], axis=1)
