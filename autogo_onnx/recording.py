"""Outcomes of fits, kept in a segment database of the user's own: what predictors can learn from.

A row holds what was known before the fit (the two graphs, the predictor's features) and what became
of it. Nothing of a model's weights or samples is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from autogo_onnx import features
from autogo_onnx.cost import macs
from autogo_onnx.ground import Ground
from autogo_onnx.planning import Outcome
from autogo_onnx.report import installed_versions
from autogo_onnx.segment_db.experience import Experience, column_digest
from autogo_onnx.segment_db.store import Store, shipped

_WRITE_BITS = 0o222


def is_own(path: Path) -> bool:
    """Whether a database is the user's own and may be written, as its mode and folder say.

    The mode counts for the superuser too: who took the write bits away wants the file left alone.
    """
    try:
        mode, is_shipped = path.stat().st_mode, path.samefile(shipped())
    except OSError:
        return False
    # SQLite makes its journal beside the file.
    may_write = os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)
    return may_write and bool(mode & _WRITE_BITS) and not is_shipped


def record(ground: Ground, outcomes: Sequence[Outcome], path: Path, ms_before: float | None) -> int:
    """Append outcomes to a database, all or none, and say how many they were.

    Args:
        ground: the model.
        outcomes: what became of its fits, those of one site in a row.
        path: of the database.
        ms_before: latency that the outcomes' savings are shares of; None where it has none.

    Raises:
        InputError: the file cannot be written.
    """
    return Store(path, writable=True).record(list(_experience(ground, outcomes, ms_before)))


def _experience(
    ground: Ground, outcomes: Sequence[Outcome], ms_before: float | None
) -> Iterator[Experience]:
    columns = column_digest(features.COLUMNS, features.VERSION)
    versions = installed_versions()
    network = features.Network(ground.reading.opgraph)
    whole_ms = ms_before if ground.options.target == "cpu" else None
    for site, group in groupby(outcomes, key=lambda outcome: outcome.candidate.site):
        members = list(group)
        rows = features.rows(network.site(site.cut.ops), [one.candidate.graph for one in members])
        for outcome, row in zip(members, rows, strict=True):
            graph = outcome.candidate.graph
            yield Experience(
                site=site.graph,
                candidate=graph,
                columns=columns,
                features=row,
                nmse=outcome.nmse,
                score=outcome.score,
                macs_delta=macs(graph) - macs(site.graph),
                latency_delta_ms=None if whole_ms is None else -outcome.saving * whole_ms,
                target=ground.options.target,
                versions=versions,
            )
