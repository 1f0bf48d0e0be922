"""The value of a child as the predictor sees it, from several places of the network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import features
from autogo_onnx.evolution.member import Child
from autogo_onnx.features import Network
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.predictor import ACCURACY, Predicted, Predictor, open_predictor
from autogo_onnx.serialize import canonical_form

PLACES = 16
"""Ranks as well as the cells or layers that a family is made of; 8 do worse, one far worse."""
Floats = NDArray[np.float64]


class PredictedAccuracy:
    """Predicts the change of accuracy against a base; see `Value`.

    The predictor tells what a network is worth, seen at one of its places; here it is asked at
    some places that are spread evenly over the canonical order. So what a network is worth depends
    on the network alone, not on the edits that led to it.

    Args:
        base: the network to compare with.
        predictor: a file; None for the shipped one.
        places: at which a network is looked at.
    """

    def __init__(self, base: OpGraph, predictor: Path | None = None, places: int = PLACES) -> None:
        self._path, self._places = predictor, places
        self._base = self._seen_by_members([canonical_form(base)])

    def changes(self, children: Sequence[Child]) -> Predicted:
        """See `Value`."""
        if not children:
            return Predicted(np.zeros(0), np.zeros(0))
        members = self._seen_by_members([child.form for child in children]) - self._base
        return self._predictor().predicted(members, ACCURACY)

    def _seen_by_members(self, forms: Sequence[OpGraph]) -> Floats:
        """What each member of the predictor thinks of each network, float64[N,K]."""
        rows = np.concatenate([rows_at_places(form, self._places) for form in forms])
        found = self._predictor().members(rows, ACCURACY)
        each: Floats = found.reshape(len(forms), self._places, -1).mean(axis=1)
        return each

    def _predictor(self) -> Predictor:
        return _opened(self._path)


def rows_at_places(graph: OpGraph, places: int = PLACES) -> features.Rows:
    """A row per place, each a run of operators in their order; all runs together are the graph.

    Args:
        graph: a network's canonical form, so that the rows are those of the network.
        places: how many runs; float32[places,F] is what comes back.
    """
    network = Network(graph)
    bounds = np.linspace(0, len(graph.ops), places + 1).round().astype(int).tolist()
    if not graph.ops:
        return features.rows_of_segments([network.site_at(0)] * places)
    # Of fewer operators than places some are seen twice.
    starts = [min(start, len(graph.ops) - 1) for start in bounds[:-1]]
    runs = [range(a, max(a + 1, b)) for a, b in zip(starts, bounds[1:], strict=True)]
    return features.rows_of_segments([network.site(run) for run in runs])


@lru_cache(maxsize=2)
def _opened(path: Path | None) -> Predictor:
    """The predictor, opened once per process."""
    return open_predictor(path)
