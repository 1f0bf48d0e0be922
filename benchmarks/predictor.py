"""How well the predictor ranks: `python -m benchmarks.predictor --tables DIR [--seeds 3]`.

Prints a markdown table. Networks are split, not encodings; a predictor is trained on both families
at once, from 80 % of each or from 1,024 networks of each, and judged on the held-out 20 %.

- accuracy: Spearman of the predicted with the true accuracy. The prediction is the mean, over 16
  labelled networks, of their accuracy plus the predicted change to the one in question.
- neighbours: Spearman within the held-out neighbours (one edge, one block) of a held-out parent,
  mean over parents with at least five; regret is how far the predicted best neighbour lies below
  the true best, in points of accuracy.
- The baselines are the same learner on the same pairs with fewer columns: multiply-accumulates
  only; those, parameters and operator counts.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import features
from autogo_onnx.features import Rows
from autogo_onnx.predictor_labels import Labels, read
from autogo_onnx.predictor_pairs import Sites
from autogo_onnx.predictor_training import Pairs, Recipe, fit, merged, pairs_of

Floats = NDArray[np.float64]
Predict = Callable[[Rows], Floats]

ANCHORS, PARENTS, FEWEST_NEIGHBOURS = 16, 300, 5
FEW_LABELS = 1024
MODELS = ("boosted trees, all columns", "operator counts", "multiply-accumulates only")


@dataclass(frozen=True)
class Split:
    """Networks of a family to train on and to judge by."""

    labels: Labels
    sites: Sites
    train: tuple[int, ...]
    held_out: tuple[int, ...]

    def rows(self, parent: int, children: Sequence[int]) -> Rows:
        """Rows of the parent's replacement by each child."""
        archs = self.labels.archs
        return self.sites.rows(archs[parent], [archs[child] for child in children])


@dataclass(frozen=True)
class Figures:
    """What one predictor reached on one family."""

    accuracy: float
    neighbours: float
    neighbours_median: float
    regret: float
    random_regret: float


def split(labels: Labels, sites: Sites, seed: int, few: bool) -> Split:
    """A seeded split; `few` keeps 1,024 of the networks to train on."""
    order = np.random.default_rng(seed).permutation(len(labels.archs)).tolist()
    fifth = len(order) // 5
    train = order[fifth:][: FEW_LABELS if few else None]
    return Split(labels, sites, tuple(train), tuple(order[:fifth]))


def columns_of(model: str) -> NDArray[np.intp]:
    """Numbers of the columns that a model may use."""
    names = np.array([column.partition(".")[2] for column in features.COLUMNS])
    macs = np.isin(names, ["macs_log2", "macs_log2_change"])
    counts = np.char.endswith(names, "_ops") | np.isin(names, ["parameters_log2"])
    return np.flatnonzero({MODELS[0]: names != "", MODELS[1]: macs | counts}.get(model, macs))


def judge(part: Split, predict: Predict, seed: int) -> Figures:
    """The figures of a predictor on the held-out networks of a family."""
    generator = np.random.default_rng(seed)
    standard, held_out = part.labels.standardized(), list(part.held_out)
    anchors = generator.choice(part.train, ANCHORS, replace=False).tolist()
    predicted = sum(standard[a] + predict(part.rows(a, held_out)) for a in anchors)
    parents = generator.choice(held_out, min(PARENTS, len(held_out)), replace=False).tolist()
    ranks, regrets, random_regrets = neighbour_figures(part, predict, parents)
    return Figures(
        accuracy=spearman(np.asarray(predicted), standard[held_out]),
        neighbours=statistics.mean(ranks),
        neighbours_median=statistics.median(ranks),
        regret=statistics.mean(regrets),
        random_regret=statistics.mean(random_regrets),
    )


def neighbour_figures(
    part: Split, predict: Predict, parents: Sequence[int]
) -> tuple[list[float], list[float], list[float]]:
    """Per parent: Spearman within its held-out neighbours, regret, regret of a random choice."""
    train, accuracy = set(part.train), part.labels.accuracies
    ranks, regrets, random_regrets = [], [], []
    for parent in parents:
        near = [n for n in part.labels.neighbours[parent] if n not in train]
        if len(near) < FEWEST_NEIGHBOURS:
            continue
        change, true = predict(part.rows(parent, near)), accuracy[near]
        ranks.append(spearman(change, true))
        regrets.append(float(true.max() - true[change.argmax()]))
        random_regrets.append(float(true.max() - true.mean()))
    return ranks, regrets, random_regrets


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation; 0 where one side is constant, as a coin would be."""
    from scipy.stats import spearmanr

    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def run(families: Sequence[Labels], seeds: int, few: bool) -> dict[tuple[str, str], list[Figures]]:
    """Figures by model and family, one per seed."""
    recipe = Recipe(others=40) if few else Recipe()
    sites = [Sites(labels.family) for labels in families]
    found: dict[tuple[str, str], list[Figures]] = {}
    for seed in range(seeds):
        parts = [split(f, s, seed, few) for f, s in zip(families, sites, strict=True)]
        pairs = merged([pairs_of(p.labels, p.sites, p.train, recipe, seed) for p in parts])
        for model in MODELS:
            predict = fitted(model, pairs, recipe, seed)
            for part in parts:
                figures = judge(part, predict, seed)
                found.setdefault((part.labels.family, model), []).append(figures)
    return found


def fitted(model: str, pairs: Pairs, recipe: Recipe, seed: int) -> Predict:
    """The learner on the model's columns; with few columns every split may choose from all."""
    columns = columns_of(model)
    share = recipe.column_share if model == MODELS[0] else 1.0
    chosen = Pairs(np.ascontiguousarray(pairs.rows[:, columns]), pairs.changes)
    regressor = fit(chosen, replace(recipe, column_share=share), seed)

    def predict(rows: Rows) -> Floats:
        change: Floats = regressor.predict(rows[:, columns])
        return change

    return predict


def markdown(found: dict[tuple[str, str], list[Figures]], trained_on: str) -> list[str]:
    """Table lines: means over seeds, the spread of the first figure."""
    lines = []
    for (family, model), all_seeds in sorted(found.items()):
        spread = statistics.pstdev(f.accuracy for f in all_seeds)
        means = [
            statistics.mean(values)
            for values in zip(
                *(
                    (f.neighbours, f.neighbours_median, f.regret, f.random_regret)
                    for f in all_seeds
                ),
                strict=True,
            )
        ]
        accuracy = f"{statistics.mean(f.accuracy for f in all_seeds):.3f} +- {spread:.3f}"
        rank, median, regret, random_regret = means
        lines.append(
            f"| {family} | {trained_on} | {model} | {accuracy} | {rank:.3f} / {median:.3f} "
            f"| {regret:.2f} | {random_regret:.2f} |"
        )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Rank correlations of the predictor.")
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    families = read(chosen.tables)
    print(
        "| family | trained on | model | accuracy, Spearman | neighbours, Spearman mean / median "
        "| regret, points | regret of a random choice |\n|---|---|---|---|---|---|---|"
    )
    for few, trained_on in ((False, "80 %"), (True, f"{FEW_LABELS:,} each")):
        print("\n".join(markdown(run(families, chosen.seeds, few), trained_on)), flush=True)


if __name__ == "__main__":
    main()
