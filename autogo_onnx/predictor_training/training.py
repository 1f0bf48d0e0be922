"""Trains the predictor that is shipped: `autogo-onnx predictor train`.

The same sources and seed give the same bytes with the same versions of scikit-learn and numpy,
which the file's metadata names. The file holds the derived trees and where they come from, never a
table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autogo_onnx import devices
from autogo_onnx.errors import InputError
from autogo_onnx.predictor.heads import write
from autogo_onnx.predictor_training import accuracy, fit_error, latency
from autogo_onnx.predictor_training.ensemble import Recipe
from autogo_onnx.predictor_training.labels import FAMILIES, MEASURED, read


@dataclass(frozen=True)
class Sources:
    """What a predictor is trained on.

    Attributes:
        tables: folder of the published tables of accuracies and latencies.
        families: whose accuracies are learned.
        trials: a file of trials, for the head that predicts the error of a fit; without, the
            predictor has no such head.
        with_devices: whether prices of devices are fitted to the tables of latencies.
        cache: a folder to keep rows in.
    """

    tables: Path
    families: Sequence[str] = MEASURED
    trials: Path | None = None
    with_devices: bool = True
    cache: Path | None = None

    def command(self, seed: int) -> str:
        """The command that trains on the like."""
        options = [f"--family {name}" for name in self.families if self.families != MEASURED]
        options += [] if self.trials is None else ["--trials TRIALS"]
        options += [] if self.with_devices else ["--no-devices"]
        return " ".join(
            ["autogo-onnx predictor train FILE --tables TABLES", *options, f"--seed {seed}"]
        )


def train(sources: Sources, out: Path, seed: int = 0, recipe: Recipe = accuracy.RECIPE) -> None:
    """Train a predictor and write it.

    Args:
        recipe: of the head for accuracy.

    Raises:
        InputError: a table or the file of trials cannot be read, a table holds what another
            predictor said, or `out` cannot be written.
    """
    predicted = [name for name in sources.families if name in FAMILIES and name not in MEASURED]
    if predicted:
        raise InputError(f"accuracies of {predicted[0]} are predicted ones, never trained on")
    labels = read(sources.tables, sources.families)
    metadata: dict[str, Any] = {
        "tables_sha256": {one.family: one.sha256 for one in labels},
        "seed": str(seed),
        "command": sources.command(seed),
        "versions": f"scikit-learn {version('scikit-learn')}, numpy {version('numpy')}",
    }
    # What can be missing is read before trees are grown for minutes.
    if sources.with_devices:
        known, hashes = latency.devices(sources.tables, seed)
        metadata |= {devices.KEY: devices.to_json(known), "latency_tables_sha256": hashes}
    errors = [] if sources.trials is None else [fit_error.head(sources.trials, seed)]
    write(out, [accuracy.head(labels, seed, recipe, sources.cache), *errors], metadata)
