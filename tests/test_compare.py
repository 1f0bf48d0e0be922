from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from autogo_onnx import calibration, model, runtime, verify
from autogo_onnx.compare import Comparison, compare
from autogo_onnx.errors import InputError
from autogo_onnx.options import Options

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
PLAIN = Options()
SCORES = "g (float[N,4] x) => (float[N,4] y) { y = Mul(x, x) }"


def write(path: Path, text: str) -> Path:
    path.write_bytes(onnx.parser.parse_model(HEAD + text).SerializeToString())
    return path


def comparison(tmp_path: Path, a: str, b: str, options: Options = PLAIN) -> Comparison:
    first, second = write(tmp_path / "a.onnx", a), write(tmp_path / "b.onnx", b)
    return compare(first, second, options=options, seconds=0.0)


def test_equal_models_on_noise(tmp_path: Path) -> None:
    found = comparison(tmp_path, SCORES, SCORES)
    assert found.signature == ()
    assert found.data == "noise"
    assert found.fidelity is not None
    assert (found.fidelity.psnr_db, found.fidelity.nmse) == (150.0, 0.0)
    assert found.latency.rounds >= 8


def test_other_outputs_are_named_and_not_judged(tmp_path: Path) -> None:
    other = "g (float[N,4] x) => (float[N,4] z) { z = Mul(x, x) }"
    found = comparison(tmp_path, SCORES, other)
    assert found.signature == ("outputs are ['z'] instead of ['y']",)
    assert (found.fidelity, found.unjudged) == (None, "the outputs have other names")
    smaller = "g (float[N,4] x) => (float[N,M] y) { y = ReduceSum<keepdims = 1>(x) }"
    assert comparison(tmp_path, SCORES, smaller).unjudged == "the outputs have other shapes"


def test_samples_labels_and_metric_are_used(tmp_path: Path) -> None:
    x = np.eye(4, dtype=np.float32).repeat(4, axis=0)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "labels.npy", x.argmax(axis=1))
    (tmp_path / "metric.py").write_text("def f(path):\n    return float(path.stem == 'a')\n")
    options = Options(
        calibration=tmp_path / "x.npy",
        labels=tmp_path / "labels.npy",
        evaluate=f"{tmp_path / 'metric.py'}:f",
    )
    negative = "g (float[N,4] x) => (float[N,4] y) { y = Neg(x) }"
    found = comparison(tmp_path, SCORES, negative, options)
    assert (found.data, found.samples, found.metric) == ("calibration", 16, (1.0, 0.0))
    assert found.fidelity is not None
    assert (found.fidelity.accuracy_before, found.fidelity.accuracy_after) == (1.0, 0.0)


def test_a_model_that_does_not_take_the_inputs_is_refused(tmp_path: Path) -> None:
    other = "g (float[N,5] x) => (float[N,5] y) { y = Mul(x, x) }"
    with pytest.raises(InputError, match="does not run on x"):
        comparison(tmp_path, SCORES, other)


@pytest.mark.slow
@pytest.mark.parametrize("export", ["bn", "folded", "dynamo"])
def test_resnet20_has_its_known_accuracy(shared: Path, tmp_path: Path, export: str) -> None:
    with zipfile.ZipFile(shared / "images" / "cifar10_jpeg" / "test_10000.zip") as archive:
        archive.extractall(tmp_path / "images")
    np.save(tmp_path / "labels.npy", np.repeat(np.arange(10), 1000))
    options = Options(
        calibration=tmp_path / "images",
        labels=tmp_path / "labels.npy",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    path = shared / "zoo" / f"cifar10_resnet20_{export}.onnx"
    samples = calibration.load(tmp_path / "images", model.load(path), options)
    scores = list(verify.run(runtime.open_session(path), samples).values())
    found = verify.judge(scores, scores, samples.labels)
    assert found.accuracy_before == pytest.approx(0.8103, abs=0.0001)


@pytest.mark.parametrize(
    "name", ["fmnist_resnet8_bn", "mnist_cntk_8", "ppocr_v2_cls", "yunet_n_dynamic"]
)
def test_real_models_equal_themselves(shared: Path, name: str) -> None:
    path = shared / "zoo" / f"{name}.onnx"
    found = compare(path, path, options=Options(), seconds=0.0)
    assert found.fidelity is not None
    assert found.fidelity.nmse == 0.0
    assert found.fidelity.passes(max_drop=0.0, min_psnr=100.0)


def test_options_are_not_changed(tmp_path: Path) -> None:
    options = Options(seed=3)
    comparison(tmp_path, SCORES, SCORES, options)
    assert options == dataclasses.replace(Options(), seed=3)
