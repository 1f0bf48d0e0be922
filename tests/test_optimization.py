"""The main job as a library call, on a small network and on broken input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import classifier, samples

import autogo_onnx
from autogo_onnx.errors import InputError
from autogo_onnx.report import Report
from autogo_onnx.runtime import open_session


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npy"
    np.save(path, samples())
    return path


def outputs(model: onnx.ModelProto, feed: np.ndarray) -> np.ndarray:
    result: np.ndarray = open_session(model).run(None, {"x": feed})[0]
    return result


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("data") / "samples.npy"
    np.save(path, samples())
    return autogo_onnx.optimize(classifier(), path, target="macs", max_drop=0.05)


def test_counted_target_gives_a_cheaper_network_that_answers_alike(report: Report) -> None:
    assert report.plan
    assert report.after.macs < 0.8 * report.before.macs
    assert report.latency_ratio == pytest.approx(report.after.macs / report.before.macs)
    unseen = samples(200, seed=7)
    before, after = outputs(classifier(), unseen), outputs(report.model, unseen)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.9


def test_gate_holds_on_samples_that_were_not_fitted(report: Report) -> None:
    assert report.fidelity is not None
    assert report.fidelity.drop_bound is not None
    assert report.fidelity.drop_bound <= 0.05
    assert report.samples.fit + report.samples.held_out == 96
    assert report.fidelity.samples == 96  # crosswise: either half judges the fit on the other


def test_face_and_metadata_are_kept(report: Report) -> None:
    original = classifier()
    assert list(report.model.graph.input) == list(original.graph.input)
    assert list(report.model.graph.output) == list(original.graph.output)
    assert list(report.model.metadata_props) == list(original.metadata_props)
    assert list(report.model.opset_import) == list(original.opset_import)
    onnx.checker.check_model(report.model, full_check=True)


def test_no_weight_is_left_at_its_placeholder(report: Report) -> None:
    fitted = [t for t in report.model.graph.initializer if t.name.startswith("autogo/")]
    assert fitted
    convolutions = [t for t in fitted if len(t.dims) > 1]
    assert all(np.abs(onnx.numpy_helper.to_array(t)).max() > 0 for t in convolutions)


def test_pareto_set_is_sorted_and_undominated(report: Report) -> None:
    ratios = [p.latency_ratio for p in report.pareto]
    drops = [p.drop for p in report.pareto]
    assert ratios == sorted(ratios)  # type: ignore[type-var]
    assert drops == sorted(drops, reverse=True)  # type: ignore[type-var]


def test_without_samples_the_function_is_unchanged() -> None:
    model = classifier()
    report = autogo_onnx.optimize(model, target="macs")
    feed = samples(8, seed=3)
    assert report.level == "exact"
    assert not report.plan
    assert np.allclose(outputs(model, feed), outputs(report.model, feed), rtol=1e-4, atol=1e-5)
    assert any("--calibration" in note for note in report.notes)


def test_unverified_level_says_so() -> None:
    report = autogo_onnx.optimize(classifier(), level="unverified", target="macs", max_drop=0.5)
    assert report.level == "unverified"
    assert any("unverified" in line for line in report.warnings)


def test_a_gate_that_nothing_passes_leaves_the_exact_model(data: Path) -> None:
    report = autogo_onnx.optimize(classifier(), data, target="macs", max_drop=-1.0)
    assert not report.plan
    assert report.after.macs == report.before.macs


def test_metric_of_the_user_gates(data: Path, tmp_path: Path) -> None:
    metric = tmp_path / "metric.py"
    metric.write_text(
        "import onnx\n"
        "def nodes(path):\n"
        "    return -float(len(onnx.load(path).graph.node))\n"
        "def constant(path):\n"
        "    return 1.0\n"
    )
    loose = autogo_onnx.optimize(
        classifier(), data, target="macs", evaluate=f"{metric}:constant", max_drop=0.0
    )
    assert loose.plan
    assert loose.metric is not None
    assert (loose.metric.before, loose.metric.after) == (1.0, 1.0)
    strict = autogo_onnx.optimize(
        classifier(), data, target="macs", evaluate=f"{metric}:nodes", max_drop=-100.0
    )
    assert not strict.plan


def test_labels_give_top1(data: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.npy"
    np.save(labels, outputs(classifier(), samples()).argmax(axis=1))
    report = autogo_onnx.optimize(classifier(), data, labels=labels, target="macs", max_drop=0.1)
    assert report.metric is not None
    assert report.metric.name == "top-1"
    assert report.metric.before == 1.0


@pytest.mark.parametrize("count", [3, 20])
def test_too_few_samples_are_refused_with_their_number(count: int, tmp_path: Path) -> None:
    path = tmp_path / "few.npy"
    np.save(path, samples(count))
    with pytest.raises(InputError, match=rf"{count} samples"):
        autogo_onnx.optimize(classifier(), path)


def test_fitted_level_needs_samples() -> None:
    with pytest.raises(InputError, match="--calibration"):
        autogo_onnx.optimize(classifier(), level="fitted")


_RUN = """
import sys
from pathlib import Path
from autogo_onnx.cli import run
sys.exit(run(["optimize", *sys.argv[1:], "--quiet"]))
"""


def _bytes_of_run(folder: Path, seed: str, *arguments: str) -> bytes:
    out = folder / f"out{seed}.onnx"
    model, data = folder / "model.onnx", folder / "samples.npy"
    command = [sys.executable, "-c", _RUN, str(model), "-o", str(out), "--calibration", str(data)]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    subprocess.run([*command, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
    return out.read_bytes()


@pytest.mark.slow
def test_same_command_gives_the_same_bytes_in_three_processes(data: Path) -> None:
    onnx.save(classifier(), data.parent / "model.onnx")
    arguments = ("--target", "macs", "--max-drop", "0.05")
    made = {_bytes_of_run(data.parent, seed, *arguments) for seed in ("0", "1", "2")}
    assert len(made) == 1


@pytest.mark.slow
def test_latency_table_of_a_run_gives_its_bytes_again(data: Path) -> None:
    onnx.save(classifier(), data.parent / "model.onnx")
    first = _bytes_of_run(data.parent, "0", "--max-drop", "0.05")
    table = data.parent / "out0.latency.json"
    for seed in ("1", "2"):
        arguments = ("--max-drop", "0.05", "--latency-table", str(table))
        assert _bytes_of_run(data.parent, seed, *arguments) == first
