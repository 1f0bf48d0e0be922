"""What is written of fitted regressors: the same decisions, the same bytes, few of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from predictor_files import COLUMNS, fitted, head, members, random_rows, written

from autogo_onnx import features, runtime
from autogo_onnx.errors import InputError
from autogo_onnx.features import Rows
from autogo_onnx.predictor import open_predictor, trees
from autogo_onnx.predictor.graph import model_of
from autogo_onnx.predictor.heads import Head, to_onnx, write
from autogo_onnx.predictor.tree_ensemble import float32_at_most, tree_ensemble

WIDTH = len(features.COLUMNS)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_down_keeps_every_comparison(threshold: float) -> None:
    rounded = float32_at_most(np.array([threshold]))[0]
    with np.errstate(over="ignore"):
        above = np.nextafter(rounded, np.float32(np.inf))
    assert float(rounded) <= threshold < float(above)


def probes(regressors: list[object], columns: int) -> Rows:
    """Rows at, just above and far from every threshold, some values missing."""
    thresholds = [
        float(node["num_threshold"])
        for regressor in regressors
        for (tree,) in regressor._predictors  # type: ignore[attr-defined]
        for node in tree.nodes
        if not node["is_leaf"]
    ]
    near = float32_at_most(np.array(thresholds))
    edges = np.concatenate([near, np.nextafter(near, np.float32(np.inf))])
    found = np.concatenate([np.repeat(edges[:, None], columns, 1), random_rows(500, columns, 1)])
    found[::7, 2] = np.nan
    return found


@pytest.mark.parametrize("leaves", [2, 3, 15])
def test_written_trees_equal_scikit_learn(leaves: int) -> None:
    rows = random_rows(2000, 5)
    target = rows[:, 0] * 0.1 + np.sin(rows[:, 1]) - rows[:, 2] * rows[:, 3] + 50
    rows[::5, 0] = np.nan
    settings = {"max_iter": 20, "max_leaf_nodes": leaves, "max_features": 0.5}
    regressors = [fitted(rows[s:], target[s:], random_state=s, **settings) for s in range(3)]
    node = tree_ensemble(regressors, [9, 2, 0, 7, 4], "rows", "y")
    assert trees.problem(node, WIDTH) == ""
    asked = probes(regressors, 5)
    whole = np.zeros((len(asked), WIDTH), np.float32)
    whole[:, [9, 2, 0, 7, 4]] = asked
    (found,) = runtime.run(runtime.open_session(model_of([node])), None, {"rows": whole})
    expected = np.stack([regressor.predict(asked) for regressor in regressors], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_member_that_never_branches_is_written() -> None:
    constant = fitted(random_rows(50, 5), np.full(50, 2.5), max_iter=3)
    node = tree_ensemble([constant, *members(1)], range(5), "rows", "y")
    assert trees.problem(node, 5) == ""
    rows = random_rows(20)
    (found,) = runtime.run(runtime.open_session(model_of([node])), None, {"rows": rows})
    np.testing.assert_array_equal(found[:, 0], 2.5)
    np.testing.assert_allclose(found[:, 1], members(1)[0].predict(rows[:, :5]), rtol=1e-5)


def test_the_same_heads_give_the_same_bytes(tmp_path: Path) -> None:
    first = written(tmp_path / "1.onnx", seed=1, families={"b": 2, "a": 1}).read_bytes()
    second = written(tmp_path / "2.onnx", families={"a": 1, "b": 2}, seed=1).read_bytes()
    assert first == second
    onnx.checker.check_model(onnx.load_model_from_string(first), full_check=True)


def test_a_leaf_takes_few_bytes(tmp_path: Path) -> None:
    one = written(tmp_path / "1.onnx", [head(count=1)]).stat().st_size
    three = written(tmp_path / "3.onnx", [head(count=3)]).stat().st_size
    leaves = sum(len(t.nodes) // 2 + 1 for m in members(3)[1:] for (t,) in m._predictors)
    assert (three - one) / leaves < 26


def test_metadata_is_text_or_json(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"spearman": 0.97, "families": ["a"]}
    path = written(tmp_path / "p.onnx", [head(**facts)], command="train", families={"a": 3})
    info = open_predictor(path).info
    assert info["command"] == "train"
    assert json.loads(info["families"]) == {"a": 3}
    described = {"predicts": "accuracy in its unit", "columns": len(COLUMNS), **facts}
    assert json.loads(info["heads"]) == {"accuracy": described}
    assert json.loads(info["columns"]) == list(features.COLUMNS)


@pytest.mark.parametrize(
    ("heads", "reason"),
    [
        ([], "alone"),
        ([head(), head()], "the same name"),
        ([replace(head(), name="two words")], "cannot be named"),
        ([replace(head(), name="rows")], "cannot be named"),
        ([replace(head(), members=())], "no members"),
        ([replace(head(), columns=range(4))], "not fitted on its columns"),
        ([replace(head(), columns=range(WIDTH, WIDTH + 5))], "beyond the rows"),
        ([replace(head(), facts={"deviation_scale": 0.0})], "deviation_scale"),
        ([replace(head(), facts={"spearman": float("nan")})], "not JSON"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    tmp_path: Path, heads: list[Head], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        write(tmp_path / "p.onnx", heads, {})
    assert not list(tmp_path.iterdir())


def test_regressors_of_another_kind_are_not_written() -> None:
    rows = random_rows(50, 5)
    poisson = fitted(rows, rows[:, 0] + 1, loss="poisson", max_iter=2)
    with pytest.raises(InputError, match="identity"):
        to_onnx([replace(head(), members=[poisson])], {})
    kinds = fitted(rows.astype(int), rows[:, 0], categorical_features=[1], max_iter=2)
    with pytest.raises(InputError, match="numerical"):
        to_onnx([replace(head(), members=[kinds])], {})
