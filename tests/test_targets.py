"""Targets that are computed: what a run for a device does, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import predictor_files
import pytest
from device_cases import device
from segment_db_cases import write_small
from tiny_models import classifier, samples

import autogo_onnx
from autogo_onnx import devices
from autogo_onnx.cli import run
from autogo_onnx.cost import macs
from autogo_onnx.errors import InputError
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.options import Options
from autogo_onnx.payoff import Payoff
from autogo_onnx.report import Report, to_json
from autogo_onnx.report_text import to_text
from autogo_onnx.sizes import read_model
from autogo_onnx.targets import counted

SIZE = 6
NOT_MEASURED = "predicted from published measurements of toy, not measured"


def small() -> onnx.ModelProto:
    return classifier(width=8, size=SIZE)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predictor") / "predictor.onnx"
    return predictor_files.written(path, devices=devices.to_json([device(range_ms=(0.01, 1.0))]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of samples and of a small segment database."""
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "samples.npy", samples(64, size=SIZE))
    write_small(folder / "segments.db")
    return folder


@pytest.fixture(scope="module")
def report(predictor: Path, data: Path) -> Report:
    return autogo_onnx.optimize(
        small(),
        data / "samples.npy",
        target="device:toy",
        predictor=predictor,
        segment_db=data / "segments.db",
        max_drop=0.5,
    )


def test_cost_of_a_model_is_that_of_its_operators_and_the_overhead(predictor: Path) -> None:
    target = counted(Options(target="device:toy", predictor=predictor))
    assert target is not None
    assert target.device is not None
    model = classifier()
    graph = read_model(model).opgraph
    three_convolutions = 3 * 0.5 + 1e-6 * macs(graph) + 0.25
    assert target.of_model(model) == pytest.approx(three_convolutions)
    assert target.cost(graph) == pytest.approx(three_convolutions - 0.25)


def test_macs_and_measured_latency_need_no_predictor(tmp_path: Path) -> None:
    absent = tmp_path / "absent.onnx"
    assert counted(Options(target="cpu", predictor=absent)) is None
    target = counted(Options(target="macs", predictor=absent))
    assert target is not None
    assert target.of_model(classifier()) == macs(read_model(classifier()).opgraph)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("device:abacus", "knows no device 'abacus', but toy$"),
        ("device:", "knows no device ''"),
        ("gpu", "'gpu' is not 'cpu', .* or 'device:NAME'"),
    ],
)
def test_unknown_targets_are_refused(predictor: Path, target: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        autogo_onnx.optimize(classifier(), target=target, predictor=predictor)


def test_a_predictor_without_devices_says_so(tmp_path: Path) -> None:
    path = predictor_files.written(tmp_path / "bare.onnx")
    with pytest.raises(InputError, match="knows no devices"):
        counted(Options(target="device:toy", predictor=path))


def test_rules_on_trial_are_judged_by_the_device(predictor: Path) -> None:
    target = counted(Options(target="device:toy", predictor=predictor))
    judge = Payoff(Options(), LatencyTable("1", 1), None, None, target)
    narrow, wide = classifier(width=8), classifier(width=16)
    assert judge("rule", wide, wide).keep
    assert judge("rule", wide, narrow).keep
    assert not judge("rule", narrow, wide).keep


def test_a_device_is_optimized_for_by_its_prices(report: Report) -> None:
    assert report.plan
    assert report.latency_ratio is not None
    assert report.latency_ratio < 0.95
    before, after = report.before.latency_ms, report.after.latency_ms
    assert before is not None
    assert after is not None
    assert after / before == pytest.approx(report.latency_ratio)
    # Savings of the plan are those of its segments alone, so they add up to the whole.
    saved = sum(entry.latency_delta_ms or 0.0 for entry in report.plan)
    assert after - before == pytest.approx(saved, rel=0.01)


def test_nothing_predicted_is_told_as_measured(report: Report) -> None:
    body = json.loads(to_json(report))
    assert (body["target"], body["latency_is"]) == ("device:toy", "predicted")
    assert report.latency_table is None
    assert any(NOT_MEASURED in note for note in report.notes)
    assert report.warnings == (
        f"the latency predicted for toy, {report.before.latency_ms:.3g} ms, is outside of what was"
        " measured on it, 0.01 to 1 ms",
    )
    text = to_text(report, explain=True)
    assert f"predicted latency ratio: {report.latency_ratio:.3f}, nothing was measured" in text
    assert "predicted ms" in text
    for words in ("faster", "latency ms", "noise bound"):
        assert words not in text


def test_parameters_are_counted_as_in_the_model() -> None:
    target = counted(Options(target="params"))
    assert target is not None
    weights = (3 + 8 + 8) * 8 * 9 + 3 * 8 + 5 * 8 + 5
    assert target.of_model(small()) == target.cost(read_model(small()).opgraph) == weights


def test_parameters_decide_on_rules_and_multiplications_where_they_are_equal() -> None:
    options = Options(target="params")
    judge = Payoff(options, LatencyTable("1", 1), None, None, counted(options))
    high, low = classifier(width=8, size=9), classifier(width=8, size=6)
    assert judge("rule", high, low).keep
    assert not judge("rule", low, high).keep
    fewer_parameters = judge("rule", low, classifier(width=7, size=20))
    assert fewer_parameters.keep
    assert fewer_parameters.macs_delta is not None
    assert fewer_parameters.macs_delta > 0
    more = str(judge("rule", classifier(width=7, size=20), low))
    assert more == f"+305 parameters, {-fewer_parameters.macs_delta:+,} multiply-accumulates"


def test_parameters_are_minimized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autogo_onnx.candidates.MOST_ADAPTED", 0)  # variants are enough
    np.save(tmp_path / "samples.npy", samples(64, size=SIZE))
    report = autogo_onnx.optimize(small(), tmp_path / "samples.npy", target="params", max_drop=0.5)
    assert report.plan
    assert report.latency_is == "counted"
    assert report.latency_ratio == report.after.params / report.before.params
    assert report.latency_ratio < 0.7
    assert sum(entry.params_delta for entry in report.plan) < 0
    text = to_text(report)
    assert f"parameters ratio: {report.latency_ratio:.3f}, nothing was measured" in text
    assert "MACs ratio" not in text
    assert "latency ms" not in text


def test_counted_multiplications_are_not_told_as_latency() -> None:
    report = autogo_onnx.optimize(classifier(), target="macs")
    text = to_text(report)
    assert report.latency_is == "counted"
    assert "MACs ratio: 1.000, nothing was measured" in text
    assert "latency" not in text


def test_the_same_run_gives_the_same_bytes(
    predictor: Path,
    data: Path,
    report: Report,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    onnx.save(small(), tmp_path / "in.onnx")
    out = tmp_path / "out.onnx"
    arguments = ["optimize", str(tmp_path / "in.onnx"), "-o", str(out), "-q"]
    arguments += ["--calibration", str(data / "samples.npy"), "--max-drop", "0.5"]
    arguments += ["--segment-db", str(data / "segments.db")]
    arguments += ["--target", "device:toy", "--predictor", str(predictor)]
    assert run(arguments) == 0
    assert NOT_MEASURED in capsys.readouterr().out
    assert onnx.load(out) == report.model
    assert not (tmp_path / "out.latency.json").exists()


def test_a_wrong_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    known = devices.to_json([device(name=f"gpu_{number}") for number in range(40)])
    path = predictor_files.written(tmp_path / "many.onnx", devices=known)
    with pytest.raises(InputError, match=r"no device 'gpu_77', but gpu_7, .*lists all 40") as found:
        counted(Options(target="device:gpu_77", predictor=path))
    assert len(str(found.value)) < 200


def test_no_milliseconds_are_told_where_nothing_is_predicted(predictor: Path) -> None:
    model = classifier()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0
    report = autogo_onnx.optimize(model, target="device:toy", predictor=predictor)
    assert report.before.latency_ms is None
    assert any("nothing is predicted for toy" in warning for warning in report.warnings)


def test_info_lists_devices(predictor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predictor", "info", "--predictor", str(predictor)]) == 0
    assert "toy                    nasbench201 0.951, 4.7% of 281" in capsys.readouterr().out
