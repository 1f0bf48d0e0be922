"""The user's metric: how it is read, and what is lost by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import classifier

from autogo_onnx import model as model_file
from autogo_onnx.errors import InputError
from autogo_onnx.job import begin
from autogo_onnx.metric import Figure, evaluate, load_metric
from autogo_onnx.options import Gating, Options
from autogo_onnx.progress import Silent


def test_a_metric_is_a_function_of_the_path(tmp_path: Path) -> None:
    file = tmp_path / "metric.py"
    file.write_text("def size(path):\n    return path.stat().st_size\n")
    model = tmp_path / "m.onnx"
    model.write_bytes(b"12345")
    assert load_metric(f"{file}:size")(model) == Figure(5.0)


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("def f(p): return 1", "g", "has no function 'g'"),
        ("f = 3", "f", "has no function 'f'"),
        ("1 / 0", "f", "fails on import: ZeroDivisionError"),
        ("def f(:", "f", "fails on import: SyntaxError"),
        ("def f(p): return 1", "f.x", "not of the form"),
    ],
)
def test_a_metric_that_cannot_be_loaded_is_refused(
    tmp_path: Path, code: str, name: str, message: str
) -> None:
    (tmp_path / "metric.py").write_text(code)
    with pytest.raises(InputError, match=message):
        load_metric(f"{tmp_path / 'metric.py'}:{name}")


@pytest.mark.parametrize("reference", ["metric.py", ":f", "missing.py:f", "metric.py:"])
def test_a_metric_must_be_named_in_full(reference: str) -> None:
    with pytest.raises(InputError, match="metric"):
        load_metric(reference)


@pytest.mark.parametrize(
    "result",
    [
        "float('nan')",
        "'high'",
        "None",
        "1 / 0",
        "float('inf')",
        "[]",
        "[[1, 2], [3, 4]]",
        "[1, float('nan')]",
    ],
)
def test_a_metric_must_give_a_finite_number(tmp_path: Path, result: str) -> None:
    (tmp_path / "metric.py").write_text(f"def f(path):\n    return {result}\n")
    metric = load_metric(f"{tmp_path / 'metric.py'}:f")
    with pytest.raises(InputError, match="metric"):
        metric(tmp_path / "m.onnx")


def test_a_metric_may_tell_of_every_sample(tmp_path: Path) -> None:
    (tmp_path / "metric.py").write_text("def f(path):\n    return [True, False, True, True]\n")
    figure = load_metric(f"{tmp_path / 'metric.py'}:f")(tmp_path / "m.onnx")
    assert figure.value == 0.75
    assert figure.samples is not None
    assert figure.samples.tolist() == [1.0, 0.0, 1.0, 1.0]


def test_of_single_figures_the_difference_is_lost() -> None:
    assert Figure(0.9).lost(Figure(0.88)) == pytest.approx(0.02)


def test_the_bound_on_what_is_lost_holds_in_nine_of_ten_draws() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        draws = rng.random(1500)
        before = (draws < 0.90).astype(float)
        after = np.where(rng.random(1500) < 0.05, rng.random(1500) < 0.5, before)  # Loses 2 points.
        held.append(Figure(before.mean(), before).lost(Figure(after.mean(), after)) >= 0.02)
    assert 0.88 <= np.mean(held) <= 0.92


def test_equal_models_lose_nothing() -> None:
    samples = np.array([1.0, 0.0, 1.0])
    assert Figure(2 / 3, samples).lost(Figure(2 / 3, samples.copy())) == 0.0


def test_other_numbers_of_figures_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="gave 3 figures for the original and 2"):
        Figure(1.0, np.ones(3)).lost(Figure(1.0, np.ones(2)))
    with pytest.raises(InputError, match="gave 3 figures for the original and 1"):
        Figure(1.0, np.ones(3)).lost(Figure(1.0))
    with pytest.raises(InputError, match="gave 1 figures for the original and 3"):
        Figure(1.0).lost(Figure(1.0, np.ones(3)))


@pytest.mark.parametrize("gate", ["accuracy", "agreement", "values"])
def test_a_metric_and_something_else_cannot_both_gate(gate: Gating) -> None:
    with pytest.raises(InputError, match=f"--gate {gate}"):
        begin(classifier(), Options(gate=gate, evaluate="metric.py:f"), Silent())


def test_labels_are_not_of_values() -> None:
    with pytest.raises(InputError, match="labels are of classes"):
        begin(classifier(), Options(gate="values", labels=Path("labels.npy")), Silent())


def test_a_model_whose_weights_stay_in_their_file_can_be_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(
        classifier(width=64),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        size_threshold=0,
        location="weights",
    )
    monkeypatch.setattr(model_file, "_IN_MEMORY_BYTES", 1000)
    model = model_file.load(tmp_path / "m.onnx")
    assert model_file.has_unread_data(model)
    (tmp_path / "metric.py").write_text(
        "import onnxruntime\n\n\ndef f(path):\n"
        "    return len(onnxruntime.InferenceSession(path).get_outputs())\n"
    )
    assert evaluate(load_metric(f"{tmp_path / 'metric.py'}:f"), model).value == 1.0
