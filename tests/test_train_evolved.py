"""The benchmark that trains base and evolved networks: its bases, its data, its table."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from autogo_onnx.cost import macs
from autogo_onnx.materialize import random_weights, to_onnx
from autogo_onnx.runtime import open_session, run
from benchmarks import evolved_tasks
from benchmarks import train_evolved as benchmark
from benchmarks.evolved_tasks import TASKS, Task, of_any_size, patches
from benchmarks.train_evolved import Candidate, Result

SMALL = "super-resolution-edsr"
CHEAPEST = "cheapest predicted no worse"


def _photographs() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (64, 80, 3), np.uint8)) for _ in range(2)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Task:
    """Super-resolution on a few patches of noise, for one epoch, judged by its largest weight."""
    monkeypatch.setattr(evolved_tasks, "photographs", _photographs)
    monkeypatch.setattr(evolved_tasks, "_PATCHES", 16)
    task = TASKS[SMALL]
    quick = replace(task, quality=_largest_weight, training={**task.training, "epochs": 1})
    monkeypatch.setitem(TASKS, SMALL, quick)
    return quick


def _largest_weight(model: onnx.ModelProto) -> float:
    return max(float(numpy_helper.to_array(t).max()) for t in model.graph.initializer)


def _result(role: str, seed: int, quality: float) -> Result:
    return Result("denoising-unet", role, seed, quality, 1000, 100, 0.0, 0.0, 1.0, "")


@pytest.mark.parametrize("name", TASKS)
def test_bases_are_small_and_run(name: str) -> None:
    graph = TASKS[name].network().folded()
    assert 4e6 < macs(graph) < 3e7
    model = to_onnx(graph, random_weights(graph, 0))
    onnx.checker.check_model(model, full_check=True)
    (made,) = run(open_session(model), None, {"x0": np.zeros((2, *graph.input_shapes[0][1:]), "f")})
    assert made.shape == (2, *graph.output_shapes[0][1:])


def test_dense_bases_take_pictures_of_any_size() -> None:
    graph = TASKS["super-resolution-edsr"].network().folded()
    model = of_any_size(to_onnx(graph, random_weights(graph, 0)))
    feed = {"x0": np.zeros((1, 3, 30, 20), np.float32)}
    assert run(open_session(model), None, feed)[0].shape == (1, 3, 60, 40)


def test_inputs_of_super_resolution_are_its_targets_made_smaller(small: Task) -> None:
    arrays = small.data()
    assert arrays["x0"].shape == (16, 3, 24, 24)
    assert arrays["targets"].shape == (16, 3, 48, 48)
    boxes = arrays["targets"].reshape(16, 3, 24, 2, 24, 2).mean((3, 5))
    correlation = np.corrcoef(boxes.ravel(), arrays["x0"].ravel())[0, 1]
    assert correlation > 0.9
    assert (patches(_photographs(), 4, seed=0) == patches(_photographs(), 4, seed=0)).all()


def test_a_training_is_known_again_until_its_network_changes(small: Task, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    base = Candidate("base", benchmark.write_base(small, tmp_path))
    first, other = (benchmark.trained(SMALL, base, seed, ()) for seed in (0, 1))
    assert first.quality != other.quality
    assert first.macs == macs(small.network().folded())
    assert benchmark.trained(SMALL, base, 1, [first, other]) is other
    graph = small.network().folded()
    onnx.save(to_onnx(graph, random_weights(graph, 1)), base.path)
    assert benchmark.trained(SMALL, base, 0, [first, other]).key != first.key


def test_two_networks_of_a_front_are_named_before_they_are_trained(tmp_path: Path) -> None:
    rows = [("a", 0.4, 120), ("b", 0.1, 90), ("c", 0.0, 80), ("d", -0.2, 50)]
    assert _chosen(tmp_path, rows) == [("best predicted", "a"), (CHEAPEST, "c")]
    assert _chosen(tmp_path, rows[:1]) == [("best predicted", "a")]


def _chosen(folder: Path, rows: list[tuple[str, float, int]]) -> list[tuple[str, str]]:
    with (folder / "front.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "predicted_change", "macs", "deviation"))
        writer.writerows((*row, 0.1) for row in rows)
    found = benchmark.chosen(folder / "front.csv")
    assert all(candidate.path.parent == folder for candidate in found)
    return [(candidate.role, candidate.path.name) for candidate in found]


def test_the_table_claims_only_what_the_seeds_tell() -> None:
    bases = [_result("base", seed, 30.0 + 0.01 * seed) for seed in range(3)]
    clear = [_result("clear", seed, 31.0 + 0.01 * seed) for seed in range(3)]
    vague = [_result("vague", seed, 30.0 + 0.9 * seed) for seed in range(3)]
    header, _, base, better, unclear = benchmark.table([*bases, *clear, *vague]).splitlines()
    assert header.count("|") == base.count("|") == better.count("|")
    assert "30.01 ± 0.01 dB (3 seeds)" in base
    assert better.endswith("+1.00 [+0.98, +1.02] | better |")
    assert unclear.endswith("| not distinguishable |")
