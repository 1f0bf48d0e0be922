"""What says how good a child is, where evolution is judged by a table.

- `predictor`: trees like the shipped ones, but trained on the other families only;
- `predictor+256`: on 256 networks of the space besides, which are left out of everything judged;
- `MACs`: more are better;
- `chance`: a random number per network;
- `truth`: the table itself, so that what is missing is the fault of the search.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import features
from autogo_onnx.evolution import Child
from autogo_onnx.evolution.predicted import PLACES, rows_at_places
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.predictor import Predicted
from autogo_onnx.predictor_training.accuracy import (
    dataset,
    families,
    sites_of,
    training_networks,
)
from autogo_onnx.predictor_training.dataset import Dataset, deviations, joined, value_columns
from autogo_onnx.predictor_training.ensemble import Ensemble, Recipe, fit
from autogo_onnx.predictor_training.labels import Labels
from benchmarks.evolve_spaces import Space

Floats = NDArray[np.float64]

PREDICTOR, FEW, MACS, CHANCE, TRUTH = "predictor", "predictor+256", "MACs", "chance", "truth"
LABELLED = 256
OTHERS = 512
RECIPE = Recipe(members=2, bins=64)


@dataclass(frozen=True)
class TableValue:
    """A value per network of a space, as each of some members sees it; an `evolution.Value`.

    Attributes:
        number: of the network that a graph is, None for none.
        base: number of the network that evolves.
        members: float64[N,K].
    """

    number: Callable[[OpGraph], int | None]
    base: int
    members: Floats

    def changes(self, children: Sequence[Child]) -> Predicted:
        """Mean and deviation of the change against the base.

        Raises:
            ValueError: a child is outside the space.
        """
        numbers = [n for child in children if (n := self.number(child.graph)) is not None]
        if len(numbers) < len(children):
            raise ValueError("a child outside the space has no value")
        changes = self.members[numbers] - self.members[self.base]
        return Predicted(changes.mean(axis=1), changes.std(axis=1))


def labelled(labels: Labels, seed: int) -> tuple[int, ...]:
    """The networks of a space whose labels may be known; no longer judged, by whatever value."""
    order = np.random.default_rng(seed).permutation(len(labels.codes))
    return tuple(sorted(order[:LABELLED].tolist()))


class Predictors:
    """Predictors that have not seen the networks that they judge.

    Args:
        space: of these networks.
        labels: of all families.
        cache: a folder that keeps rows and predictions.
    """

    def __init__(self, space: Space, labels: Sequence[Labels], cache: Path) -> None:
        self._space, self._labels, self._cache = space, labels, cache

    def members(self, seed: int, *, few: bool) -> Floats:
        """What each member says of every network of the space; float64[N,K].

        Every network is seen as `evolution.PredictedAccuracy` sees it.

        Args:
            seed: draws the networks trained on.
            few: whether the `labelled` networks are among them.
        """
        tables = [one.sha256 for one in self._labels]
        recipe = [*tables, OTHERS, LABELLED, repr(RECIPE)]
        path = self._file(f"{FEW if few else PREDICTOR}-{seed}", recipe)
        if not path.exists():
            ensemble = self._trained(seed, few=few)
            seen = np.ascontiguousarray(self._rows()[:, ensemble.columns])
            found = np.stack([member.predict(seen) for member in ensemble.members], axis=1)
            np.save(path, found.reshape(len(self._space.graphs), PLACES, -1).mean(axis=1))
        loaded: Floats = np.load(path)
        return loaded

    def _trained(self, seed: int, *, few: bool) -> Ensemble:
        """Families count alike, and the space as much as all the others together."""
        own = self._space.labels
        parts = [
            self._part(family.labels, _drawn(family.labels, seed), family.values).weighted(1)
            for family in families(self._labels, seed)
            if family.labels.family != own.family
        ]
        if few:
            known = labelled(own, seed)
            values = deviations(own.accuracies, known)
            parts.append(self._part(own, known, values).weighted(len(parts)))
        data = joined(parts)
        return fit(data.weighted(len(data.rows)), value_columns(), RECIPE, seed)

    def _part(self, labels: Labels, networks: Sequence[int], values: Floats) -> Dataset:
        return dataset(labels, sites_of(labels, networks), values, self._cache)

    def _rows(self) -> features.Rows:
        """Rows of all networks of the space, one after the other."""
        path = self._file("rows", [])
        if not path.exists():
            numbers = range(len(self._space.graphs))
            every = [rows_at_places(self._space.network(number)) for number in numbers]
            np.save(path, np.concatenate(every))
        loaded: features.Rows = np.load(path, mmap_mode="r")
        return loaded

    def _file(self, name: str, trained_on: Sequence[object]) -> Path:
        """Named after all that its content depends on."""
        labels = self._space.labels
        meaning = [labels.codes, features.VERSION, features.COLUMNS, PLACES, *trained_on]
        digest = hashlib.sha256(json.dumps(meaning).encode()).hexdigest()
        return self._cache / f"evolve-{labels.family}-{name}-{digest[:16]}.npy"


def standing_in(name: str, space: Space, seed: int) -> Floats:
    """Values that no predictor made; float64[N,1]."""
    if name == MACS:
        return space.macs[:, None].astype(np.float64)
    if name == CHANCE:
        return np.random.default_rng(seed).random((len(space.graphs), 1))
    assert name == TRUTH, name
    return space.labels.accuracies[:, None]


def _drawn(labels: Labels, seed: int) -> tuple[int, ...]:
    networks = training_networks(labels, seed)
    order = np.random.default_rng(seed).permutation(len(networks))
    return tuple(networks[n] for n in sorted(order[:OTHERS].tolist()))
