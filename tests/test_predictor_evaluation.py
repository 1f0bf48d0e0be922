"""Figures of a predictor: what they are of known predictions, and of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from predictor_files import head, written

from autogo_onnx import cli
from autogo_onnx.predictor import open_predictor
from autogo_onnx.predictor_training import accuracy
from autogo_onnx.predictor_training.evaluation import HELD_OUT, MAYBE_SEEN, UNSEEN, evaluate
from autogo_onnx.predictor_training.judging import (
    calibration,
    changes_of,
    neighbour_figures,
    rewrites,
    spearman,
)
from autogo_onnx.predictor_training.labels import Labels, read


@pytest.fixture(scope="module")
def chains(tables: Path) -> Labels:
    return read(tables, ("nasbench_macro",))[0]


def test_a_constant_side_ranks_like_a_coin() -> None:
    assert spearman(np.ones(4), np.arange(4.0)) == 0
    assert spearman(np.arange(1.0), np.arange(1.0)) == 0


def test_rewrites_stay_among_the_networks_and_are_where_they_differ(chains: Labels) -> None:
    networks = range(1, len(chains.codes))
    found = rewrites(chains, networks, seed=0)
    assert found
    for one in found:
        assert 0 not in (one.parent, *one.children)
        assert set(one.children) <= set(chains.neighbours[one.parent])
        for child, before, after in zip(one.children, one.before, one.after, strict=True):
            assert (before[0], after[0]) == (one.parent, child)
            assert before[1] == after[1]
            place = before[1].start
            assert chains.codes[one.parent][:place] == chains.codes[child][:place]


@pytest.mark.parametrize(("sign", "rank"), [(1, 1.0), (-1, -1.0)])
def test_figures_of_an_oracle_and_its_opposite(chains: Labels, sign: int, rank: float) -> None:
    # Ties would leave the choice of the best open.
    values = chains.accuracies + np.linspace(0, 0.01, len(chains.codes))
    labels = replace(chains, repeats=tuple((value,) for value in values.tolist()))
    found = rewrites(labels, range(len(labels.codes)), seed=0)
    changes = changes_of(
        found,
        lambda before, after: (
            sign * (values[[n for n, _ in after]] - values[[n for n, _ in before]])
        ),
    )
    figures = neighbour_figures(labels, found, changes)
    assert figures.parents == len(found)
    assert figures.spearman == pytest.approx(rank)
    assert figures.regret == 0 if sign == 1 else figures.regret > figures.random_regret > 0


def test_no_neighbours_give_no_figures(chains: Labels) -> None:
    figures = neighbour_figures(chains, (), changes_of((), lambda before, after: np.zeros(0)))
    assert figures.parents == 0
    assert np.isnan(figures.regret)


def test_calibration_of_right_and_of_small_deviations() -> None:
    generator = np.random.default_rng(0)
    deviation = generator.uniform(0.5, 2, 20_000)
    errors = generator.normal(size=20_000) * deviation
    right = calibration(np.zeros(20_000), deviation, errors)
    assert right.within_one == pytest.approx(0.683, abs=0.01)
    assert right.within_two == pytest.approx(0.954, abs=0.01)
    assert right.rank > 0.3
    assert right.scale == pytest.approx(1, abs=0.03)
    small = calibration(np.zeros(20_000), deviation / 5, errors)
    assert small.scale == pytest.approx(5 * right.scale)
    assert calibration(np.zeros(3), np.zeros(3), np.ones(3)).scale == 1


def test_networks_that_a_file_was_trained_on_are_left_out(chains: Labels, tmp_path: Path) -> None:
    trained = accuracy.training_networks(chains, seed=3)
    facts: dict[str, Any] = {"trained_on": {chains.family: len(trained)}, "seed": 3}
    found = evaluate(open_predictor(written(tmp_path / "p.onnx", [head(**facts)])), chains)
    assert (found.seen, found.networks) == (HELD_OUT, len(chains.codes) - len(trained))


@pytest.mark.parametrize(
    ("facts", "seen"),
    [
        ({}, MAYBE_SEEN),
        ({"trained_on": {"nasbench_macro": 5}, "seed": 0}, MAYBE_SEEN),
        ({"trained_on": {"nasbench_macro": 21}, "seed": -1}, MAYBE_SEEN),
        ({"trained_on": {"nasbench_macro": 21}}, MAYBE_SEEN),
        ({"trained_on": {"darts": 420}, "seed": 0}, UNSEEN),
    ],
)
def test_what_cannot_be_left_out_is_told(
    facts: dict[str, Any], seen: str, chains: Labels, tmp_path: Path
) -> None:
    found = evaluate(open_predictor(written(tmp_path / "p.onnx", [head(**facts)])), chains)
    assert (found.seen, found.networks) == (seen, len(chains.codes))


def test_commands_train_and_evaluate(
    tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "p.onnx")
    family = ["--tables", str(tables), "--family", "nasbench_macro"]
    assert cli.run(["predictor", "train", path, *family, "--no-devices"]) == 0
    capsys.readouterr()
    assert cli.run(["predictor", "evaluate", path, *family]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert "Spearman" in header
    assert line.startswith("nasbench_macro/cifar10")
    assert line.endswith(HELD_OUT)


def test_an_unknown_family_is_named(
    tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tables", str(tables), "--family", "resnets"]
    assert cli.run(["predictor", "train", str(tmp_path / "p.onnx"), *options]) == 2
    assert "resnets" in capsys.readouterr().err
    assert not (tmp_path / "p.onnx").exists()
