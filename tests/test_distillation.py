"""Training plans back in `optimize`: what is learnt from, what is aimed at, what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_models import classifier, samples

from autogo_onnx.choices import Seen
from autogo_onnx.deadline import Deadline
from autogo_onnx.distillation import distilling
from autogo_onnx.distillation.lessons import read_lessons
from autogo_onnx.errors import InputError
from autogo_onnx.excess import excess
from autogo_onnx.fidelity import UNSEEN, Fidelity
from autogo_onnx.gate import Verdict
from autogo_onnx.ground import Ground, survey
from autogo_onnx.job import begin
from autogo_onnx.options import Options
from autogo_onnx.plans import Point
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


def test_where_a_metric_judges_all_samples_are_learnt_from(tmp_path: Path) -> None:
    place = ground(tmp_path)
    options = replace(place.job.options, evaluate="metric.py:top1")
    found = read_lessons(replace(place, job=replace(place.job, options=options)))
    assert len(found.learning) == 176
    assert found.judging is place.held_out


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    place = ground(tmp_path)
    np.save(tmp_path / "distill.npy", np.concatenate([samples(64), samples(20, seed=5)]))
    with pytest.raises(InputError, match="holds 20 samples that are no calibration samples"):
        read_lessons(place)


def test_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    model = classifier()
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "side"
    place = ground(tmp_path)
    job = begin(model, place.options, Silent())
    assert job.samples is not None
    np.save(tmp_path / "distill.npy", samples(176, size=12))
    with pytest.raises(InputError, match=r"\[3, 10, 10\] in the calibration samples and \[3, 12"):
        read_lessons(survey(job, job.samples))


def test_what_was_learnt_of_other_samples_is_not_what_is_asked(tmp_path: Path) -> None:
    keys = set()
    for seed, given in ((5, {}), (6, {}), (6, {"epochs": 3})):
        place = ground(tmp_path, **given)
        np.save(tmp_path / "distill.npy", samples(176, seed=seed))
        gate: Any = None
        course = distilling._Course(place, read_lessons(place), gate)
        keys |= {course._key(MadeUp(1.0).point(1, 1.0), rounds) for rounds in (0, 1)}
    assert len(keys) == 6


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


class MadeUp:
    """Plans that save 1 %, 2 %, ... by errors that rise steeply; training divides them by a factor.

    Args:
        gain: the factor.
        affordable: how many can be trained.
        further: another factor, for each round more.
    """

    def __init__(self, gain: float, affordable: int = 100, further: float = 1.0) -> None:
        self.gain, self.affordable, self.further = gain, affordable, further
        notes: list[str] = []
        job = SimpleNamespace(notes=notes, deadline=Deadline(1e9))
        self.ground: Any = SimpleNamespace(progress=Silent(), job=job, options=Options())
        self.gate: Any = None
        self.made: dict[tuple[int, ...], Point] = {(k,): self.point(k, 1.0) for k in (10, 15, 20)}
        self.trained: list[int] = []
        self.rounds: list[tuple[int, int]] = []

    @property
    def choices(self) -> MadeUp:
        return self

    def point(self, number: int, gain: float) -> Point:
        """Untrained, the gate closes at 15 %."""
        bound = Options().max_drop * (number / 15) ** 3 / gain
        judged = fidelity(gate="accuracy", drop_bound=bound, nmse=bound)
        return Point(onnx.ModelProto(), (), 1 - number / 100, Verdict(judged, None, bound <= 0.01))

    def seen(self) -> list[Seen]:
        return []

    def hopeful(self, seen: list[Seen], loss: float, seed: int | None) -> tuple[int, ...]:
        strays = 0.0 if seed is None else np.random.default_rng(seed).normal(0, 0.05)
        return (min(60, int(15 * (loss / Options().max_drop * np.exp(strays)) ** (1 / 3))),)

    def has_time(self, chosen: tuple[int, ...], deadline: Deadline) -> bool:
        return len(self.trained) < self.affordable

    def realized(self, chosen: tuple[int, ...]) -> Point:
        return self.made.setdefault(chosen, self.point(chosen[0], 1.0))

    def taught(self, _: Any, point: Point, deadline: Deadline, rounds: int) -> Point:
        number = round(100 * (1 - point.ratio))
        self.rounds.append((number, rounds))
        if not rounds:
            self.trained.append(number)
        return self.point(number, self.gain * self.further**rounds)


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[float, list[int]]]:
    """The largest saving that passes once trained, and the savings tried, both in per cent."""

    def run(gain: float, affordable: int = 100) -> tuple[float, list[int]]:
        plans: Any = MadeUp(gain, affordable)
        monkeypatch.setattr(distilling._Course, "judge", SimpleNamespace(seconds=0.0))
        monkeypatch.setattr(
            distilling._Course, "_learnt", lambda *given: MadeUp.taught(plans, *given)
        )
        lessons: Any = SimpleNamespace(learning=[], judging=[])
        points = distilling.distil(plans, lessons)
        passing = [100 * (1 - point.ratio) for point in points if point.passes]
        return max(passing, default=0.0), plans.trained

    return run


@pytest.mark.parametrize("gain", [1.5, 3.0, 6.0, 20.0])
def test_plans_are_trained_where_training_just_makes_up_for_them(
    gain: float, taught: Callable[..., tuple[float, list[int]]]
) -> None:
    best = 15 * gain ** (1 / 3)
    found, tried = taught(gain)
    assert 0.93 * best <= found <= best + 1e-6
    assert len(tried) == len(set(tried)) <= distilling.MOST_TRAINED
    for place, number in enumerate(tried):
        assert all(number > other for other in tried[:place] if other <= best), "it gains nothing"


def test_what_fails_by_little_is_trained_on_while_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans: Any = MadeUp(3.0, further=1.2)
    monkeypatch.setattr(distilling._Course, "judge", SimpleNamespace(seconds=0.0))
    monkeypatch.setattr(distilling._Course, "_learnt", lambda *given: MadeUp.taught(plans, *given))
    lessons: Any = SimpleNamespace(learning=[], judging=[])
    points = distilling.distil(plans, lessons)
    assert len({point.ratio for point in points}) == len(points) == len(plans.trained)
    assert max(1 - p.ratio for p in points if p.passes) > 0.15 * 3.0 ** (1 / 3)
    for number in plans.trained:
        rounds = [r for n, r in plans.rounds if n == number]
        beyond = [(number / 15) ** 3 / 3.0 / 1.2**r for r in rounds]
        assert rounds == list(range(len(rounds)))
        assert len(rounds) <= distilling.ROUNDS
        assert all(0 < math.log(b) <= distilling.NARROWLY for b in beyond[:-1])
        is_narrow = 0 < math.log(beyond[-1]) <= distilling.NARROWLY
        assert not is_narrow or len(rounds) == distilling.ROUNDS


def test_where_no_plan_loses_so_little_more_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: Any = MadeUp(6.0)
    monkeypatch.setattr(distilling, "TRAINING_GAIN", 0.01)
    monkeypatch.setattr(
        plans,
        "hopeful",
        lambda seen, loss, seed: (20,) if loss > Options().max_drop else (),
    )
    monkeypatch.setattr(distilling._Course, "judge", SimpleNamespace(seconds=0.0))
    monkeypatch.setattr(distilling._Course, "_learnt", lambda *given: MadeUp.taught(plans, *given))
    lessons: Any = SimpleNamespace(learning=[], judging=[])
    assert [point.passes for point in distilling.distil(plans, lessons)] == [True]


def test_a_sample_that_the_model_does_not_take_costs_the_training_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> None:
        raise InputError("the model does not run on it")

    plans: Any = MadeUp(6.0)
    monkeypatch.setattr(distilling._Course, "judge", SimpleNamespace(seconds=0.0))
    monkeypatch.setattr(distilling._Course, "_learnt", fails)
    lessons: Any = SimpleNamespace(learning=[], judging=[])
    assert distilling.distil(plans, lessons) == []
    assert plans.ground.job.notes == ["nothing was trained back: the model does not run on it"]


def test_the_time_ends_the_training(taught: Callable[..., tuple[float, list[int]]]) -> None:
    assert len(taught(3.0, affordable=2)[1]) == 2


def test_where_everything_passes_the_largest_plan_is_trained(
    taught: Callable[..., tuple[float, list[int]]],
) -> None:
    assert taught(1e4)[0] == pytest.approx(60)


def test_an_original_of_another_form_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", samples(80, size=8))
    place = ground(tmp_path)
    options = replace(place.options, distill=tmp_path / "other.npy")
    with pytest.raises(InputError, match="the model needs"):
        read_lessons(replace(place, job=replace(place.job, options=options)))
