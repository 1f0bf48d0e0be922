"""Across families: one is left out of the training, and none or few of its networks have labels.

- `zero-shot`: trained on 1,024 networks of every other family, which count alike.
- `joint`: the same with the few labelled networks of the family added; together they count as much
  as the other families do.
- `residual`: trees for what the zero-shot prediction, fitted by a line, leaves of the few labels.
- `alone`: trained on the few only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autogo_onnx.predictor_training.accuracy import Family, dataset
from autogo_onnx.predictor_training.dataset import Dataset, joined
from autogo_onnx.predictor_training.ensemble import Recipe, fit
from autogo_onnx.predictor_training.judging import spearman
from autogo_onnx.predictor_training.network_rows import middle_sites
from benchmarks.predictor_held_out import split
from benchmarks.predictor_models import COUNTS, MACS, TREES, Floats, columns_of

ZERO, JOINT, RESIDUAL, ALONE = "zero-shot", "joint", "residual", "alone"
OTHERS = 1024
LABELS = (16, 64, 256)
RECIPE = Recipe(members=2, bins=64)
RESIDUAL_RECIPE = Recipe(members=2, trees=100, learning_rate=0.05, leaves=6, bins=64)


@dataclass(frozen=True)
class Transfer:
    """Spearman on the held-out networks of a family, by method, columns and number of labels."""

    family: str
    method: str
    model: str
    labels: int
    seed: int
    spearman: float


def run(
    target: str, families: Mapping[str, Family], seed: int, cache: Path | None
) -> list[Transfer]:
    """All methods for one family left out."""
    others = joined(
        [
            _part(family, split(family.labels, seed).train[:OTHERS], cache).weighted(OTHERS)
            for name, family in families.items()
            if name != target
        ]
    )
    parts = split(families[target].labels, seed)
    held_out = _part(families[target], parts.held_out, cache)
    few = _part(families[target], parts.train[: max(LABELS)], cache)
    found = []
    for model in (TREES, COUNTS, MACS):
        known = _Known(others, few, held_out, columns_of(model), _recipe(model), seed)
        for method, count, predicted in known.predictions(model == TREES):
            rank = spearman(predicted, held_out.targets)
            found.append(Transfer(target, method, model, count, seed, rank))
    return found


@dataclass(frozen=True)
class _Known:
    """Rows of the other families, of the labelled networks in order, and of those to rank."""

    others: Dataset
    few: Dataset
    held_out: Dataset
    columns: Sequence[int]
    recipe: Recipe
    seed: int

    def predictions(self, with_joint: bool) -> list[tuple[str, int, Floats]]:
        """(method, number of labels, predicted values of the held-out networks)."""
        zero = fit(self.others, self.columns, self.recipe, self.seed)
        at_few = zero.predict(self.few.rows).mean
        at_held_out = zero.predict(self.held_out.rows).mean
        found = [(ZERO, 0, at_held_out)]
        for count in LABELS:
            few = _first(self.few, count)
            found.append((ALONE, count, self._fitted(few, self.recipe)))
            slope, height = _line(at_few[:count], few.targets)
            left = replace(few, targets=few.targets - (slope * at_few[:count] + height))
            residual = self._fitted(left, RESIDUAL_RECIPE)
            found.append((RESIDUAL, count, slope * at_held_out + height + residual))
            if with_joint:
                total = float(self.others.weights.sum())
                both = joined([self.others, few.weighted(total)])
                found.append((JOINT, count, self._fitted(both, self.recipe)))
        return found

    def _fitted(self, data: Dataset, recipe: Recipe) -> Floats:
        share = replace(recipe, column_share=self.recipe.column_share)
        model = fit(data, self.columns, share, self.seed)
        return model.predict(self.held_out.rows).mean


def _line(inputs: Floats, outputs: Floats) -> tuple[float, float]:
    """Slope and height of the line of least squares."""
    around = inputs - inputs.mean()
    slope = float(around @ outputs) / (float(around @ around) or 1.0)
    return slope, float(outputs.mean() - slope * inputs.mean())


def _recipe(model: str) -> Recipe:
    return RECIPE if model == TREES else replace(RECIPE, column_share=1.0)


def _part(family: Family, networks: Sequence[int], cache: Path | None) -> Dataset:
    sites = middle_sites(family.labels, networks)
    return dataset(family.labels, sites, family.values, cache)


def _first(data: Dataset, count: int) -> Dataset:
    return Dataset(
        data.rows[:count], data.targets[:count], data.weights[:count], data.networks[:count]
    )
