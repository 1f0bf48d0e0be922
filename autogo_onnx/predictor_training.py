"""Trains the predictor that is shipped: `python -m autogo_onnx.predictor_training`.

The same tables and seed give the same bytes with the same versions of scikit-learn and numpy, which
the file's metadata names. The file holds the derived trees and where they come from, never a table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import features, model
from autogo_onnx.errors import InputError
from autogo_onnx.features import Rows
from autogo_onnx.predictor import FORMAT
from autogo_onnx.predictor_labels import Labels, read
from autogo_onnx.predictor_pairs import Sites, draw
from autogo_onnx.tree_ensemble import to_onnx


@dataclass(frozen=True)
class Recipe:
    """How pairs are drawn and trees are grown.

    Attributes:
        neighbours, others: pairs per network, see `predictor_pairs.draw`.
        trees, learning_rate, leaves: of the gradient boosting.
        column_share: of the columns that a split may choose from.
    """

    neighbours: int = 2
    others: int = 12
    trees: int = 500
    learning_rate: float = 0.1
    leaves: int = 63
    column_share: float = 0.1


@dataclass(frozen=True)
class Pairs:
    """Rows float32[N,F] and the change of standardized accuracy that each led to, float64[N]."""

    rows: Rows
    changes: NDArray[np.float64]


def train(tables: Path, out: Path, seed: int = 0, recipe: Recipe = Recipe()) -> None:
    """Train on all networks of the tables and write the predictor.

    Args:
        tables: folder that holds `nasbench201_test_acc/` and `nasbench_macro/`.

    Raises:
        InputError: a table cannot be read or `out` cannot be written.
    """
    families = read(tables)
    pairs = merged(
        [pairs_of(f, Sites(f.family), range(len(f.archs)), recipe, seed) for f in families]
    )
    metadata = {
        "format": FORMAT,
        "features_version": str(features.VERSION),
        "columns": json.dumps(features.COLUMNS),
        "predicts": "change of test accuracy in standard deviations of the family",
        "families": json.dumps({labels.family: len(labels.archs) for labels in families}),
        "tables_sha256": json.dumps({labels.family: labels.sha256 for labels in families}),
        "rows": str(len(pairs.rows)),
        "recipe": repr(recipe),
        "seed": str(seed),
        "command": "python -m autogo_onnx.predictor_training --tables TABLES -o FILE",
        "versions": f"scikit-learn {version('scikit-learn')}, numpy {version('numpy')}",
    }
    model.save(to_onnx(fit(pairs, recipe, seed), len(features.COLUMNS), metadata), out)


def pairs_of(
    labels: Labels, sites: Sites, networks: Sequence[int], recipe: Recipe, seed: int
) -> Pairs:
    """The training pairs among some networks of a family; `sites` are that family's."""
    standard = labels.standardized()
    drawn = draw(labels, networks, neighbours=recipe.neighbours, others=recipe.others, seed=seed)
    rows = [
        sites.rows(labels.archs[parent], [labels.archs[c] for c in children])
        for parent, children in drawn
    ]
    changes = [standard[children] - standard[parent] for parent, children in drawn]
    return Pairs(np.concatenate(rows), np.concatenate(changes))


def merged(pairs: Sequence[Pairs]) -> Pairs:
    """The pairs of several families, one after the other."""
    return Pairs(
        np.concatenate([p.rows for p in pairs]), np.concatenate([p.changes for p in pairs])
    )


def fit(pairs: Pairs, recipe: Recipe, seed: int) -> Any:
    """A fitted `HistGradientBoostingRegressor`, on one thread.

    Early stopping is off: it would judge by rows whose networks it has trained on.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    regressor = HistGradientBoostingRegressor(
        max_iter=recipe.trees,
        learning_rate=recipe.learning_rate,
        max_leaf_nodes=recipe.leaves,
        max_features=recipe.column_share,
        early_stopping=False,
        random_state=seed,
    )
    with threadpool_limits(1):
        return regressor.fit(pairs.rows, pairs.changes)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command that makes the shipped file."""
    parser = argparse.ArgumentParser(description="Train the predictor from accuracy tables.")
    parser.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    parser.add_argument("-o", dest="out", type=Path, required=True, help="file to write")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    try:
        train(chosen.tables, chosen.out, chosen.seed)
    except InputError as error:
        parser.exit(InputError.exit_code, f"{error}\n")


if __name__ == "__main__":
    main()
