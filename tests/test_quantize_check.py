"""Models in int8: made by ONNX Runtime without a trace, measured and judged beside the others."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime.quantization
import pytest
from example_report import relu_model
from onnx import helper
from tiny_models import classifier, samples

import autogo_onnx
from autogo_onnx import quantize_check, scratch
from autogo_onnx.cli import run
from autogo_onnx.errors import InputError
from autogo_onnx.quantization import Quantized, quantize
from autogo_onnx.report import Report, to_json
from autogo_onnx.report_text import to_text
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import Samples

SIZE = 6
SEEN = Samples({"x": samples(16, size=SIZE)})


def small() -> onnx.ModelProto:
    """With an operator that an exact rule takes out."""
    model = classifier(width=8, size=SIZE)
    model.graph.node.insert(0, helper.make_node("Identity", ["x"], ["x0"], name="idle"))
    model.graph.node[1].input[0] = "x0"
    return model


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npy"
    np.save(path, samples(40, size=SIZE))
    return path


@pytest.fixture(autouse=True)
def _in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize_check, "SECONDS", 0.01)


def checked(data: Path, **options: Any) -> Report:
    """A run without fits, whose result differs from the original nevertheless."""
    given = {"level": "exact", "target": "macs", "quantize_check": True, **options}
    return autogo_onnx.optimize(small(), data, **given)


def test_a_quantized_model_computes_in_integers_and_answers_alike() -> None:
    model = small()
    before = model.SerializeToString(deterministic=True)
    made = quantize(model, SEEN)
    assert model.SerializeToString(deterministic=True) == before
    assert (made.layers, made.float_layers) == (4, 0)
    kinds = {t.name: t.data_type for t in made.model.graph.initializer}
    assert onnx.TensorProto.INT8 in kinds.values()
    old, new = (open_session(m).run(None, SEEN.feeds)[0] for m in (model, made.model))
    assert 0 < np.mean((old - new) ** 2) < 1e-3 * np.var(old)


def test_old_opsets_are_converted_first() -> None:
    model = classifier(width=8, size=SIZE)
    model.opset_import[0].version = 11
    made = quantize(model, SEEN)
    assert made.model.opset_import[0].version == 13
    assert model.opset_import[0].version == 11
    open_session(made.model)


def test_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "folder", lambda: str(tmp_path))
    monkeypatch.chdir(tmp_path)
    handlers = list(logging.getLogger().handlers)
    quantize(small(), SEEN)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == logging.NOTSET


def test_what_cannot_be_quantized_is_refused() -> None:
    with pytest.raises(InputError, match="no convolution or matrix product"):
        quantize(relu_model(), Samples({"x": np.ones((8, 4), np.float32)}))


def test_any_fault_of_the_quantizer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        logging.warning("a warning")
        raise KeyError("tensor\nwithout a range")

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", fail)
    handlers = list(logging.getLogger().handlers)
    with pytest.raises(InputError, match=r"quantizer fails: 'tensor\\nwithout a range'"):
        quantize(small(), SEEN)
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == logging.NOTSET


def test_all_four_models_are_told_and_the_result_is_not_changed(data: Path) -> None:
    report = checked(data)
    check = report.quantized
    assert check is not None
    assert check.problems == ()
    assert check.samples == 20
    assert [(row.model, row.precision) for row in check.models] == [
        ("original", "float"),
        ("optimized", "float"),
        ("original", "int8"),
        ("optimized", "int8"),
    ]
    for row in check.models[1:]:
        assert row.fidelity is not None
        assert row.fidelity.samples == 20
    # An exact rewrite and 8 bits are told apart.
    nmse = [row.fidelity.nmse for row in check.models[1:] if row.fidelity]
    assert nmse[0] < 1e-9 < nmse[1] < 1e-3
    assert check.latency_ratio is not None
    assert check.latency_noise is not None
    assert check.keeps_gain is (check.latency_ratio < 1 - check.latency_noise)
    assert json.loads(to_json(report))["quantized"]["models"][3]["precision"] == "int8"
    unchecked = checked(data, quantize_check=False)
    assert unchecked.quantized is None
    assert report.model == unchecked.model
    assert not any(n.op_type == "QuantizeLinear" for n in report.model.graph.node)


def test_latencies_are_of_one_measurement(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interleave(sessions: list[object], *_: object, **__: object) -> np.ndarray:
        assert len(sessions) == 6
        # original, optimized, both in int8, and the two originals again
        return np.repeat([[1.0], [0.8], [0.5], [0.45], [1.0], [0.5]], 30, axis=1)

    monkeypatch.setattr("autogo_onnx.latency.interleave", interleave)
    check = checked(data).quantized
    assert check is not None
    assert [row.latency_ms for row in check.models] == [1.0, 0.8, 0.5, 0.45]
    assert [row.latency_ratio for row in check.models] == [1.0, 0.8, 0.5, 0.45]
    assert check.latency_ratio == pytest.approx(0.9)
    assert check.latency_noise == 0.0
    assert check.keeps_gain


def test_a_model_that_does_not_quantize_is_told_and_breaks_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_the_original(model: onnx.ModelProto, seen: Samples) -> Quantized:
        if model.graph.node[0].op_type != "Identity":
            raise InputError("its operators are unheard of")
        return Quantized(quantize(model, seen).model, 4, 1)

    monkeypatch.setattr(quantize_check, "quantize", only_the_original)
    check = checked(data).quantized
    assert check is not None
    assert [row.precision for row in check.models] == ["float", "float", "int8"]
    assert (check.latency_ratio, check.keeps_gain) == (None, None)
    assert check.problems == (
        "1 of 4 convolutions and matrix products of the original model stay in float32",
        "the optimized model was not quantized: its operators are unheard of",
    )


def test_where_no_model_quantizes_nothing_is_measured(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise InputError("no")

    monkeypatch.setattr(quantize_check, "quantize", never)
    report = checked(data)
    assert report.quantized is not None
    assert report.quantized.models == ()
    assert len(report.quantized.problems) == 2
    text = to_text(report)
    assert "quantize check: the optimized model was not quantized: no" in text
    assert "in int8" not in text


def test_an_unchanged_model_is_quantized_once(data: Path) -> None:
    model = classifier(width=8, size=SIZE)
    report = autogo_onnx.optimize(model, data, level="exact", target="macs", quantize_check=True)
    assert report.quantized is not None
    assert [row.model for row in report.quantized.models] == ["original", "original"]
    assert report.quantized.keeps_gain is None


def test_the_metric_of_the_user_is_told_of_all(data: Path, tmp_path: Path) -> None:
    metric = tmp_path / "metric.py"
    metric.write_text(
        "import onnx\n"
        "def is_float(path):\n"
        "    nodes = onnx.load(path).graph.node\n"
        "    return float(not any(n.op_type == 'QuantizeLinear' for n in nodes))\n"
    )
    check = checked(data, evaluate=f"{metric}:is_float").quantized
    assert check is not None
    assert [row.metric for row in check.models] == [1.0, 1.0, 0.0, 0.0]


def test_a_metric_that_fails_is_told(data: Path, tmp_path: Path) -> None:
    metric = tmp_path / "metric.py"
    metric.write_text("def fails(path):\n    raise OSError('no data')\n")
    check = checked(data, evaluate=f"{metric}:fails").quantized
    assert check is not None
    assert [row.metric for row in check.models] == [None] * 4
    assert "no data" in check.problems[0]


def test_labels_give_the_accuracy_of_all(data: Path, tmp_path: Path) -> None:
    scores = open_session(small()).run(None, {"x": np.load(data)})[0]
    np.save(tmp_path / "labels.npy", scores.argmax(axis=1))
    check = checked(data, labels=tmp_path / "labels.npy").quantized
    assert check is not None
    accuracies = [row.fidelity.accuracy_after for row in check.models if row.fidelity]
    assert len(accuracies) == 4
    assert accuracies[:2] == [1.0, 1.0]


def test_without_samples_it_is_bad_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(small(), tmp_path / "in.onnx")
    arguments = ["optimize", str(tmp_path / "in.onnx"), "-o", str(tmp_path / "out.onnx")]
    for more in ([], ["--level", "unverified"]):
        assert run([*arguments, "--quantize-check", *more]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.splitlines() == [
            "error: a model is quantized on samples: give --calibration to --quantize-check"
        ]
    assert not (tmp_path / "out.onnx").exists()
