"""The budget: one clock, and work that is not begun, or broken off, when its time has come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from net_cases import pictures, reading_of, residual_net
from tiny_models import classifier, samples

from autogo_onnx import improvement, latency
from autogo_onnx.activations import Activations
from autogo_onnx.assemble import Settings, realize
from autogo_onnx.cost import macs
from autogo_onnx.deadline import Clock, Deadline
from autogo_onnx.ending import checked_samples, ending_s
from autogo_onnx.errors import InputError, OutOfTime
from autogo_onnx.ground import survey
from autogo_onnx.job import begin
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.options import Options
from autogo_onnx.payoff import Payoff
from autogo_onnx.progress import Silent
from autogo_onnx.samples import Samples
from autogo_onnx.segments import Site
from autogo_onnx.sites import find_sites
from autogo_onnx.step import Step
from autogo_onnx.submodel import Parts
from autogo_onnx.variants import variants

MODEL = residual_net(width=8, blocks=1)
PICTURES = Samples({"x": pictures(0, 6, 3, 12, 12)})
PAST = Deadline(-1.0)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only element."""
    time = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: time[0])
    return time


def test_deadline_counts_on_its_clock(now: list[float]) -> None:
    deadline = Deadline(100.0, Clock(0.0))
    now[0] = 60.0
    assert deadline.elapsed() == 60.0
    assert deadline.left() == 40.0
    assert deadline.has(39.0)
    assert not deadline.has(40.0)
    assert not deadline.is_past()
    now[0] = 100.0
    assert deadline.is_past()
    with pytest.raises(OutOfTime):
        deadline.check()


def test_a_stage_has_its_share_of_what_is_left_when_it_begins(now: list[float]) -> None:
    deadline = Deadline(100.0, Clock(0.0))
    now[0] = 20.0
    stage = deadline.part(0.25)
    assert stage.left() == 20.0
    now[0] = 110.0
    assert deadline.part(0.5).left() == 0.0


def test_a_clock_goes_on_from_an_interrupted_run_and_never_back(now: list[float]) -> None:
    clock = Clock(0.0)
    deadline = Deadline(100.0, clock)
    now[0] = 5.0
    clock.skip_to(70.0)
    assert deadline.left() == 30.0
    clock.skip_to(40.0)
    assert clock.elapsed() == 70.0
    now[0] = 6.0
    assert clock.elapsed() == 71.0


def test_the_end_is_left_more_time_for_a_slow_model() -> None:
    quick, slow = (ending_s(60.0, 10 * run_s, run_s) for run_s in (0.001, 0.5))
    assert quick < 0.2 * 60.0
    assert slow > quick
    assert ending_s(60.0, 5.0, 0.5, is_measured=False) < slow
    assert checked_samples(0.5) < checked_samples(0.001)


def test_a_measurement_of_a_slow_model_ends_at_its_limit() -> None:
    times = iter(np.arange(0.0, 1e4, 10.0))
    rounds = latency.take_turns(
        [lambda: None],
        seconds=1.0,
        seed=0,
        clock=lambda: 0.0,
        wall=lambda: float(next(times)),
        limit_s=2.0,
    )
    assert rounds.shape == (1, 3)


def test_activations_are_not_computed_after_the_deadline() -> None:
    late = Activations(Parts(MODEL), PICTURES, batch=2, deadline=PAST)
    with pytest.raises(OutOfTime):
        late.require(late.parts.outputs)
    with pytest.raises(OutOfTime):
        late.first(3).of(Parts(MODEL)).require(late.parts.outputs)


def test_a_plan_is_broken_off_between_two_fits() -> None:
    reading = reading_of(MODEL, x=(1, 3, 12, 12))
    site = find_sites(reading, [], fixed_size=True)[0]
    step = Step(site, variants(site.graph)[0].graph, {})
    original = Activations(Parts(MODEL), PICTURES)
    with pytest.raises(OutOfTime):
        realize(MODEL, reading, [step], original, Settings(deadline=PAST))


def test_sites_that_compute_most_get_candidates_first(now: list[float]) -> None:
    sites = find_sites(reading_of(MODEL, x=(1, 3, 12, 12)), [], fixed_size=True)
    asked: list[Site] = []

    def candidates(site: Site) -> tuple[object, ...]:
        asked.append(site)
        now[0] += 1.0
        return ()

    catalogue = cast(Any, SimpleNamespace(candidates=candidates))
    found = improvement._found(catalogue, sites, Deadline(2.0, Clock(0.0)))
    assert list(found) == asked
    assert len(asked) == 2 < len(sites)
    assert macs(asked[0].graph) == max(macs(site.graph) for site in sites)


def test_after_the_deadline_rewrites_are_judged_by_counting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(latency, "compare", None)
    feed = next(PICTURES.batches(1))
    judge = Payoff(Options(), LatencyTable("1", 1), feed, None, deadline=PAST)
    wider = residual_net(width=12, blocks=1)
    assert judge("rule", MODEL, MODEL).keep
    assert not judge("rule", MODEL, wider).keep


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npy"
    np.save(path, samples())
    return path


def test_a_short_budget_takes_fewer_samples_and_too_short_a_one_none(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autogo_onnx.ground.MACS_PER_SECOND", 2e6)
    job = begin(classifier(), Options(data, target="macs", budget_s=100.0), Silent())
    assert job.samples is not None
    ground = survey(job, job.samples)
    assert 32 <= len(ground.fit) + len(ground.held_out) < 96
    assert any("96 samples are used" in note for note in job.notes)
    short = replace(job, options=replace(job.options, budget_s=1.0))
    with pytest.raises(InputError, match=r"give --budget \d+s"):
        survey(short, job.samples)
