"""Outcomes of fits go to a database of the user's own, and nowhere else."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from segment_db_cases import outcome, write_small
from tiny_models import classifier, samples

import autogo_onnx
from autogo_onnx import features
from autogo_onnx.candidates import Candidate
from autogo_onnx.graph import from_model
from autogo_onnx.model import tensor_shapes
from autogo_onnx.options import Options
from autogo_onnx.planning import Outcome
from autogo_onnx.recording import is_own, record
from autogo_onnx.report import Report
from autogo_onnx.segment_db import connection
from autogo_onnx.segment_db.experience import Experience, column_digest
from autogo_onnx.segment_db.store import open_store, shipped
from autogo_onnx.segments import read
from autogo_onnx.sites import find_sites
from autogo_onnx.variants import variants


def run(folder: Path, database: Path) -> Report:
    """Optimize a small network; `database` holds few segments, so this takes half a second."""
    data = folder / "samples.npy"
    np.save(data, samples(size=6))
    return autogo_onnx.optimize(
        classifier(width=8, size=6), data, segment_db=database, target="macs", max_drop=0.05
    )


def recorded(path: Path) -> list[Experience]:
    return list(open_store(path).experience())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recording")


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    """A run with a database of the user's own, which holds something already."""
    with_history = open_store(write_small(folder / "own.db"), write=True)
    with_history.record([outcome()])
    return run(folder, with_history.path)


def test_outcomes_are_appended(report: Report, folder: Path) -> None:
    history, *made = recorded(folder / "own.db")
    assert history.columns == outcome().columns
    assert len(made) > len(report.plan) > 0
    assert all(one.target == "macs" and one.latency_delta_ms is None for one in made)
    assert all(one.versions == report.versions for one in made)
    assert all(one.macs_delta < 0 and one.nmse >= 0 for one in made)
    scores = [one.score for one in made if one.score is not None]
    assert 0 < len(scores) < len(made), "only the promising ones are scored"
    assert all(math.isfinite(score) for score in scores)


def test_what_was_chosen_is_among_them(report: Report, folder: Path) -> None:
    figures = {(one.macs_delta, one.nmse, one.score) for one in recorded(folder / "own.db")}
    replaced = [r for r in report.plan if not r.segment.startswith("width")]
    assert {(r.macs_delta, r.nmse, r.score) for r in replaced} <= figures


def test_recording_does_not_change_the_model(report: Report, folder: Path) -> None:
    database = write_small(folder / "read_only.db")
    database.chmod(0o444)
    before = database.read_bytes()
    again = run(folder, database)
    assert database.read_bytes() == before
    assert again.model.SerializeToString() == report.model.SerializeToString()
    assert again.notes == report.notes, "and nothing is said of it"
    assert not any("recorded" in note for note in report.notes)


def test_a_failing_write_costs_no_model(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = write_small(tmp_path / "in_use.db")
    monkeypatch.setattr(connection, "_PATIENCE_S", 0.01)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        made = run(tmp_path, database)
    assert made.model.SerializeToString() == report.model.SerializeToString()
    assert made.plan == report.plan
    assert any("not recorded" in note and "in use" in note for note in made.notes)
    assert not recorded(database)


def test_a_row_holds_the_place_the_fit_and_the_share_of_the_latency(tmp_path: Path) -> None:
    model = classifier(width=8, size=6)
    reading = read(from_model(model), tensor_shapes(model, {"x": (1, 3, 6, 6)}))
    whole = reading.opgraph
    site = next(s for s in find_sites(reading, [], fixed_size=True) if s.names == ("second",))
    narrower = variants(site.graph)[0].graph
    outcomes = [
        Outcome(Candidate(site, narrower, "it"), 0.25, math.inf),
        Outcome(Candidate(site, site.graph, "itself"), 0.5, 0.125, 3.0),
    ]
    database = write_small(tmp_path / "own.db")
    ground: Any = SimpleNamespace(reading=reading, options=Options(target="cpu"))
    assert record(ground, outcomes, database, 8.0) == 2
    first, second = recorded(database)
    (index,) = site.cut.ops
    (row,) = features.rows(features.Network(whole).site([index]), [narrower])
    assert np.array_equal(first.features, row)
    assert first.columns == column_digest(features.COLUMNS, features.VERSION)
    assert (first.site, first.candidate) == (site.graph, narrower)
    assert (first.nmse, first.score, first.latency_delta_ms) == (math.inf, None, -2.0)
    assert (second.nmse, second.score, second.latency_delta_ms) == (0.125, 3.0, -4.0)
    assert second.macs_delta == 0 > first.macs_delta


def test_only_a_file_of_the_users_own_is_written(tmp_path: Path) -> None:
    own = write_small(tmp_path / "own.db")
    assert is_own(own)
    assert not is_own(shipped())
    assert not is_own(tmp_path / "missing.db")
    link = tmp_path / "link.db"
    link.symlink_to(shipped())
    assert not is_own(link)
    own.chmod(0o444)
    assert not is_own(own)
