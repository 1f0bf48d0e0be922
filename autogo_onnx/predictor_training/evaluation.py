"""Judges a predictor file by published tables: `autogo-onnx predictor evaluate`.

Networks that the file says it was trained on are left out, so its figures are those of a test. A
file that does not say how its networks were drawn is judged by all of them, and that is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autogo_onnx import features
from autogo_onnx.predictor import ACCURACY, Predictor
from autogo_onnx.predictor_training.accuracy import training_networks
from autogo_onnx.predictor_training.judging import (
    Floats,
    NeighbourFigures,
    changes_of,
    neighbour_figures,
    rewrites,
    spearman,
)
from autogo_onnx.predictor_training.labels import Labels
from autogo_onnx.predictor_training.network_rows import Site, middle_sites, rows_of

_NETWORK_MACS = features.COLUMNS.index("network.macs_log2")
UNSEEN, HELD_OUT, MAYBE_SEEN = "family not trained on", "held out", "may be trained on"


@dataclass(frozen=True)
class Evaluation:
    """How a predictor ranks the networks of one table in one task.

    Attributes:
        labels: family, task and unit.
        networks: how many were ranked.
        seen: `UNSEEN`, `HELD_OUT` or `MAYBE_SEEN`.
        spearman: rank correlation of prediction and truth.
        macs: that of multiply-accumulates and truth, the least to be expected.
        neighbours: figures within the neighbours of a parent.
    """

    labels: Labels
    networks: int
    seen: str
    spearman: float
    macs: float
    neighbours: NeighbourFigures


def evaluate(
    predictor: Predictor, labels: Labels, seed: int = 0, cache: Path | None = None
) -> Evaluation:
    """Judge a predictor by one task of one family.

    Args:
        seed: of the parents whose neighbours are ranked.
        cache: a folder to keep rows in.
    """
    networks, seen = _networks(predictor.facts(ACCURACY), labels)

    def change(before: Sequence[Site], after: Sequence[Site]) -> Floats:
        ahead, behind = (rows_of(labels, sites, cache=cache) for sites in (before, after))
        return predictor.predict(behind).mean - predictor.predict(ahead).mean

    rows = rows_of(labels, middle_sites(labels, networks), cache=cache)
    truths = labels.accuracies[list(networks)]
    parents = rewrites(labels, networks, seed)
    return Evaluation(
        labels,
        len(networks),
        seen,
        spearman(predictor.predict(rows).mean, truths),
        spearman(rows[:, _NETWORK_MACS].astype(np.float64), truths),
        neighbour_figures(labels, parents, changes_of(parents, change)),
    )


def _networks(facts: Mapping[str, Any], labels: Labels) -> tuple[tuple[int, ...], str]:
    """Which networks to judge by, and whether the predictor has seen them."""
    everything = tuple(range(len(labels.codes)))
    trained_on, seed = facts.get("trained_on"), facts.get("seed")
    if not isinstance(trained_on, dict):
        return everything, MAYBE_SEEN
    if labels.family not in trained_on:
        return everything, UNSEEN
    if type(seed) is not int or seed < 0:
        return everything, MAYBE_SEEN
    trained = set(training_networks(labels, seed))
    if len(trained) != trained_on[labels.family]:
        return everything, MAYBE_SEEN
    return tuple(n for n in everything if n not in trained), HELD_OUT


HEADER = (
    f"{'family/task':<40} {'networks':>8} {'Spearman':>8} {'by MACs':>8}"
    f" {'neighbours':>10} {'regret':>8}  networks are"
)


def line(found: Evaluation) -> str:
    """An evaluation as a row below `HEADER`; regret is in the labels' unit."""
    near = found.neighbours
    ranked = (
        f"{near.spearman:>10.3f} {near.regret:>8.3g}" if near.parents else f"{'-':>10} {'-':>8}"
    )
    return (
        f"{found.labels.name:<40} {found.networks:>8,} {found.spearman:>8.3f} {found.macs:>8.3f}"
        f" {ranked}  {found.seen}"
    )
