"""The benchmark of promises: what is left out, and how plans are summed up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import classifier, samples

from autogo_onnx import features
from autogo_onnx.options import Options
from autogo_onnx.predictor import ACCURACY, open_predictor
from autogo_onnx.runtime import open_session, run
from autogo_onnx.segment_db.facts import Demand
from autogo_onnx.segment_db.store import open_store
from benchmarks.ablations import DATABASE, PREDICTOR, no_prediction, no_segments, without
from benchmarks.cases import Case
from benchmarks.promise import delivered_rows, promise_row, write_csv
from benchmarks.quality import Top1
from benchmarks.realized import Bench, Plan

DEMAND = Demand(((1, 16, 32, 32),), ((1, 16, 32, 32),), 1e9, 8, ("Conv",))


def test_a_database_without_segments_still_cuts(tmp_path: Path) -> None:
    empty, full = open_store(no_segments(tmp_path / "none.db")), open_store()
    assert any(True for _ in full.candidates(DEMAND))
    assert list(empty.candidates(DEMAND)) == []
    assert empty.vocabulary().to_bytes() == full.vocabulary().to_bytes()


def test_a_predictor_without_prediction_says_the_same_of_all(tmp_path: Path) -> None:
    predictor = open_predictor(no_prediction(tmp_path / "none.onnx"))
    assert predictor.heads() == (ACCURACY,)
    rows = np.random.default_rng(0).standard_normal((5, len(features.COLUMNS)))
    assert not predictor.predict(rows.astype(np.float32)).mean.any()


def test_only_what_is_named_is_missing(tmp_path: Path) -> None:
    options = Options()
    assert without(options, frozenset(), tmp_path) == options
    changed = without(options, frozenset({PREDICTOR}), tmp_path)
    assert (changed.predictor is None, changed.segment_db is None) == (False, True)
    both = without(options, frozenset({DATABASE, PREDICTOR}), tmp_path)
    assert None not in (both.predictor, both.segment_db)


def _plan(promised: float, lost: float, *, passes: bool) -> Plan:
    return Plan("tiny", "complete", 0, 0.8, passes, promised / 2, promised, lost, 3, 0.25, 0.5)


def test_promises_are_counted() -> None:
    plans = [
        _plan(1.0, 0.5, passes=True),
        _plan(1.0, 1.5, passes=True),
        _plan(3.0, 2.0, passes=False),
        _plan(3.0, 2.0, passes=False),
    ]
    assert promise_row("tiny", plans) == (
        "| tiny | 4 | 1.00 | 2.00 | 1.50 | 75 % | 2 | 0.50 | 1.00 | 1.00 | 1.50 | 1 |"
    )
    assert promise_row("tiny", plans[2:]).endswith("| 100 % | 0 | - | - | - | - | - |")


def test_plans_are_written_in_lines(tmp_path: Path) -> None:
    write_csv(tmp_path / "plans.csv", [_plan(1.0, 0.5, passes=True)])
    head, line = (tmp_path / "plans.csv").read_text().splitlines()
    assert head.startswith("model,variant,seed,latency_ratio,passes,expected,promised,lost")
    assert line == "tiny,complete,0,0.8,True,0.5,1.0,0.5,3,0.25,0.5"


@pytest.mark.slow
def test_a_run_judges_every_plan(tmp_path: Path) -> None:
    source = tmp_path / "tiny.onnx"
    onnx.save(classifier(width=32), source)
    test = samples(400, seed=7)
    labels = run(open_session(source), None, {"x": test})[0].argmax(axis=1)
    case = Case("tiny", lambda seed: samples(seed=seed), Top1(lambda: (test, labels)))
    bench = Bench(case, source, tmp_path, budget_s=60.0)
    complete = bench.run("complete", frozenset(), 0)
    assert complete.plans
    assert all(0.0 <= plan.expected <= plan.promised for plan in complete.plans)
    missing = bench.run("without database", frozenset({DATABASE}), 0)
    assert missing.delivered is None or missing.delivered.mined == 0.0
    rows = list(delivered_rows(bench, [complete, missing]))
    assert [row.split(" | ")[1] for row in rows] == ["complete", "without database"]
