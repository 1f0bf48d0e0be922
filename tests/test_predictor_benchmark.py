"""The benchmark of the predictor, on small tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_up_tables import write_tables

from autogo_onnx.predictor_training.accuracy import families
from autogo_onnx.predictor_training.ensemble import Recipe
from autogo_onnx.predictor_training.labels import read
from benchmarks import predictor as tables_of
from benchmarks import predictor_held_out as held_out
from benchmarks import predictor_models as models
from benchmarks import predictor_transfer as transfer

QUICK = Recipe(members=2, trees=15, learning_rate=0.3, leaves=7, fewest_in_leaf=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (models, transfer):
        monkeypatch.setattr(module, "RECIPE", QUICK)


def test_held_out_networks_are_never_trained_on(tmp_path: Path) -> None:
    write_tables(tmp_path)
    (labels,) = read(tmp_path, ("nasbench_macro",))
    parts = held_out.split(labels, seed=1)
    assert not set(parts.train) & set(parts.held_out)
    assert len(parts.train) + len(parts.held_out) == len(labels.codes)
    needed = {number for number, _ in held_out.sites_needed(labels, 1)}
    assert needed == set(range(len(labels.codes)))


def test_baselines_read_fewer_columns() -> None:
    trees, counts, macs = map(models.columns_of, (models.TREES, models.COUNTS, models.MACS))
    assert set(macs) < set(counts) < set(trees)
    assert len(macs) == 4


def test_tables_have_a_line_per_family_and_labels(tmp_path: Path) -> None:
    write_tables(tmp_path)
    (labels,) = read(tmp_path, ("nasbench_macro",))
    results = held_out.run(labels, 0, tmp_path)
    assert [r.model for r in results] == [*tables_of.MODELS, models.DIFFERENCES]
    lines = [line for line in tables_of.held_out_table(results) if labels.name in line]
    assert len(lines) == 1
    assert "| 80 % |" in lines[0]
    assert sum(labels.name in line for line in tables_of.difference_table(results)) == 2
    assert sum(labels.name in line for line in tables_of.uncertainty_table(results)) == 1


def test_few_labels_and_other_families_are_used(tmp_path: Path) -> None:
    write_tables(tmp_path)
    known = {
        one.labels.family: one
        for one in families(read(tmp_path, ("nasbench201", "nasbench_macro")), seed=0)
    }
    found = transfer.run("nasbench_macro", known, 0, tmp_path)
    trees = [one for one in found if one.model == models.TREES]
    assert {(one.method, one.labels) for one in trees} == {
        (transfer.ZERO, 0),
        *((m, n) for m in (transfer.ALONE, transfer.RESIDUAL) for n in transfer.LABELS),
        *((transfer.JOINT, n) for n in transfer.LABELS),
    }
    alone = [one.spearman for one in trees if (one.method, one.labels) == (transfer.ALONE, 256)]
    assert np.mean(alone) > 0.3
    assert any("zero-shot" in line for line in tables_of.transfer_table(found))
