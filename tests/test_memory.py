"""What `--memory` bounds: how many samples are fitted on, never what comes out of as many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from net_cases import pictures, reading_of, residual_net
from tiny_models import classifier, samples

import autogo_onnx
from autogo_onnx import ground as module
from autogo_onnx.activations import Activations
from autogo_onnx.assemble import Realized, Settings, realize
from autogo_onnx.errors import InputError
from autogo_onnx.ground import AT_A_TIME, DISK_PER_MEMORY, FEWEST_TO_FIT, Ground, survey
from autogo_onnx.job import begin
from autogo_onnx.options import Options
from autogo_onnx.progress import Silent
from autogo_onnx.report import Report
from autogo_onnx.samples import Samples
from autogo_onnx.segments import op_weights
from autogo_onnx.sites import find_sites
from autogo_onnx.step import Step
from autogo_onnx.submodel import Parts
from autogo_onnx.variants import variants


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npy"
    np.save(path, samples())
    return path


def ground_with(data: Path, memory_bytes: int) -> Ground:
    job = begin(classifier(), Options(data, target="macs", memory_bytes=memory_bytes), Silent())
    assert job.samples is not None
    return survey(job, job.samples)


def test_as_many_samples_are_fitted_on_as_the_disk_may_hold(data: Path) -> None:
    rich = ground_with(data, 2 * 10**9)
    sample_bytes = 2 * sum(int(np.prod(shape[1:])) for shape in rich._shapes.values())
    assert rich.activations(rich.fit).count == len(rich.fit)
    memory = 20 * AT_A_TIME * sample_bytes // DISK_PER_MEMORY + 1
    poor = ground_with(data, memory)
    some = poor.activations(poor.fit)
    assert some.count == poor.most_to_fit == 20
    assert ground_with(data, 2_000).most_to_fit == FEWEST_TO_FIT


def test_as_many_samples_are_used_as_memory_holds_outputs_of(data: Path) -> None:
    """Two networks' of five float32 each; a U-Net's are pictures."""
    ground = ground_with(data, 40 * 2 * 5 * 4)
    assert len(ground.fit) + len(ground.held_out) == 40
    assert "their outputs leave no room (--memory)" in ground.job.notes[-1]
    with pytest.raises(InputError, match="give more --memory"):
        ground_with(data, 20 * 2 * 5 * 4)


def test_samples_are_shuffled_the_same_way_every_time(data: Path) -> None:
    """Files may be sorted by class, and candidates are scored on the first samples."""
    ground = ground_with(data, 10**9)
    given = ground.fit.feeds["x"]
    one, other = (ground.activations(ground.fit).samples.feeds["x"] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    places = [int(np.flatnonzero((given == x).all(axis=(1, 2, 3)))[0]) for x in one]
    assert sorted(places) == list(range(len(given)))
    half = len(given) // 2
    assert 0.3 * half < sum(place < half for place in places[:half]) < 0.7 * half


def test_a_disk_that_is_nearly_full_bounds_too(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda: 0)
    assert ground_with(data, 2 * 10**9).most_to_fit == FEWEST_TO_FIT


def test_batches_shrink_where_samples_are_large(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = ground_with(data, 10**9)
    assert ground.activations(ground.fit).batch == 32
    monkeypatch.setattr(module, "PASS_BYTES", 3 * ground._bytes_per_sample)
    assert ground.activations(ground.fit).batch == 3
    monkeypatch.setattr(module, "PASS_BYTES", 1)
    assert ground.activations(ground.fit).batch == 1


def plan_of(cache_bytes: int) -> onnx.ModelProto:
    model = residual_net(blocks=1)
    reading = reading_of(model, x=(1, 3, 12, 12))
    site = find_sites(reading, [], fixed_size=True)[1]
    replacement = next(v.graph for v in variants(site.graph) if v.name == "separable")
    weights = {k: op_weights(reading.nodes[i]) for k, i in enumerate(site.cut.ops)}
    x = Samples({"x": pictures(0, 40, 3, 12, 12)})
    original = Activations(Parts(model), x, cache_bytes=cache_bytes)
    steps = [Step(site, replacement, weights)]
    made = realize(model, reading, steps, original, Settings())
    assert isinstance(made, Realized)
    return made.model


def test_a_plan_has_the_same_bytes_whatever_is_kept_in_memory() -> None:
    one, other = (plan_of(size).SerializeToString(deterministic=True) for size in (0, 10**8))
    assert one == other


def run(data: Path, memory_bytes: int) -> Report:
    return autogo_onnx.optimize(
        classifier(), data, target="macs", max_drop=0.05, memory_bytes=memory_bytes
    )


@pytest.mark.slow
def test_a_whole_run_gives_the_same_bytes_while_no_sample_is_left_out(data: Path) -> None:
    ground = ground_with(data, 2 * 10**9)
    sample_bytes = 2 * sum(int(np.prod(shape[1:])) for shape in ground._shapes.values())
    enough = len(ground.fit) * AT_A_TIME * sample_bytes // DISK_PER_MEMORY + 1
    reports = [run(data, size) for size in (enough, 2 * 10**9)]
    one, other = (r.model.SerializeToString(deterministic=True) for r in reports)
    assert one == other
    assert reports[0].plan
    few = run(data, enough // 4)
    assert any("samples are fitted on" in note and "--memory" in note for note in few.notes)
    assert not any("samples are fitted on" in note for note in reports[0].notes)
