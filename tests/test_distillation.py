"""Training plans back in `optimize`: what is learnt from, what is aimed at, what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import classifier, samples

from autogo_onnx.distillation.aim import Trial, next_saving
from autogo_onnx.distillation.lessons import read_lessons
from autogo_onnx.errors import InputError
from autogo_onnx.excess import excess
from autogo_onnx.fidelity import UNSEEN, Fidelity
from autogo_onnx.gate import Verdict
from autogo_onnx.ground import Ground, survey
from autogo_onnx.job import begin
from autogo_onnx.options import Options
from autogo_onnx.progress import Silent


@pytest.fixture(autouse=True)
def as_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here trains."""
    monkeypatch.setattr("autogo_onnx.training.find_spec", lambda _: object())


def ground(folder: Path, **given: Any) -> Ground:
    """A classifier with 64 calibration samples, and 192 to distil on, some of them the same."""
    np.save(folder / "calibration.npy", samples(64))
    np.save(folder / "distill.npy", np.concatenate([samples(16), samples(176, seed=5)]))
    options = Options(
        calibration=folder / "calibration.npy",
        distill=folder / "distill.npy",
        target="macs",
        **given,
    )
    job = begin(classifier(), options, Silent())
    assert job.samples is not None
    return survey(job, job.samples)


def save_labels(path: Path, count: int) -> Path:
    np.save(path, np.arange(count) % 5)
    return path


def fidelity(**given: Any) -> Fidelity:
    common: dict[str, Any] = {"gate": "psnr", "samples": 10, "nmse": 0.1}
    common |= dict.fromkeys(("drop", "drop_bound", "agreement", "psnr_db", "psnr_bound_db"))
    return Fidelity(**{**common, **given})


def test_calibration_samples_are_not_learnt_from(tmp_path: Path) -> None:
    found = read_lessons(ground(tmp_path))
    learnt = {sample.tobytes() for sample in found.learning.feeds["x"]}
    judging = {sample.tobytes() for sample in found.judging.feeds["x"]}
    calibration = {sample.tobytes() for sample in samples(64)}
    assert not learnt & (judging | calibration)
    assert len(learnt) == 141  # 176, a fifth of which judges beside the 32 held out
    assert len(judging) == 35 + 32
    assert len(judging & calibration) == 32


def test_labels_of_all_that_judge_judge(tmp_path: Path) -> None:
    calibration = save_labels(tmp_path / "labels.npy", 64)
    distill = save_labels(tmp_path / "more.npy", 192)
    both = read_lessons(ground(tmp_path, labels=calibration, distill_labels=distill))
    assert both.judging.labels is not None
    assert len(both.judging.labels) == len(both.judging) == 67
    assert both.learning.labels is not None
    first = read_lessons(ground(tmp_path, labels=calibration))
    assert (len(first.judging), first.learning.labels) == (32, None)
    other = read_lessons(ground(tmp_path, distill_labels=distill))
    assert other.learning.labels is not None
    assert (len(other.judging), len(other.learning.labels)) == (35, 141)


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    place = ground(tmp_path)
    np.save(tmp_path / "distill.npy", np.concatenate([samples(64), samples(20, seed=5)]))
    with pytest.raises(InputError, match="holds 20 samples that are no calibration samples"):
        read_lessons(place)


def test_without_torch_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autogo_onnx.training.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'autogo-onnx\[train\]'"):
        read_lessons(ground(tmp_path))


def test_excess_is_negative_where_the_gate_opens() -> None:
    options = Options(max_drop=0.01, min_psnr=40.0)
    labelled = fidelity(gate="accuracy", drop_bound=0.01)
    unlabelled = replace(labelled, gate="expected_drop")
    assert excess(Verdict(labelled, None, True), options) == pytest.approx(0)
    assert excess(Verdict(unlabelled, None, False), options) == pytest.approx(math.log(UNSEEN))
    assert excess(Verdict(unlabelled, 0.88, False, 0.02), options) == pytest.approx(math.log(2))
    gained = excess(Verdict(unlabelled, 0.95, True, -0.05), options)
    assert -4 < gained < -2
    dense = fidelity(psnr_bound_db=20.0)
    assert excess(Verdict(dense, None, False), options) == pytest.approx(math.log(10))
    worst = replace(labelled, psnr_bound_db=20.0)
    assert excess(Verdict(worst, None, False), options) == pytest.approx(math.log(10))
    for verdict in (labelled, unlabelled, dense, replace(dense, psnr_bound_db=41.0)):
        passes = verdict.passes(max_drop=0.01, min_psnr=40.0)
        assert passes == (excess(Verdict(verdict, None, passes), options) <= 1e-9)


def aimed(closed: Callable[[float], float], gain: float) -> tuple[float, list[float]]:
    """The largest saving found where training gains so much, and the savings tried."""
    trials = [Trial(0.1, closed(0.1)), Trial(0.35, closed(0.35))]
    tried: list[float] = []
    while (goal := next_saving(trials, 0.1, 0.7)) is not None:
        tried.append(goal)
        trials.append(Trial(goal, closed(goal), closed(goal) - gain))
    passing = [t.saving for t in trials if t.trained is not None and t.trained <= 0]
    return max(passing, default=0.1), tried


@pytest.mark.parametrize("gain", [0.3, 1.0, 1.8, 3.0])
def test_aim_finds_the_saving_where_the_gate_closes(gain: float) -> None:
    def closed(saving: float) -> float:
        return 12 * math.pow(saving - 0.1, 1.2)

    best = 0.1 + (gain / 12) ** (1 / 1.2)
    found, tried = aimed(closed, gain)
    assert best - 0.03 < found <= best
    assert len(tried) <= 7
    assert abs(aimed(closed, gain)[1][1] - best) < 0.12  # near by the second plan


def test_aim_ends_where_all_or_nothing_passes() -> None:
    everything, tried = aimed(lambda s: s, 9.0)
    assert everything == pytest.approx(0.7, abs=0.02)
    assert len(tried) < 8
    nothing, tried = aimed(lambda s: 5 + s, 0.0)
    assert nothing == 0.1
    assert len(tried) < 12
    assert next_saving([Trial(0.1, 0.0)], 0.69, 0.7) is None


def test_an_original_of_another_form_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", samples(80, size=8))
    place = ground(tmp_path)
    options = replace(place.options, distill=tmp_path / "other.npy")
    with pytest.raises(InputError, match="the model needs"):
        read_lessons(replace(place, job=replace(place.job, options=options)))
