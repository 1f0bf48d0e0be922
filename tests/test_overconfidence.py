"""Overconfidence, told by mirrored pictures: how it is found, when nothing is concluded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from net_cases import Net, pictures
from onnx import numpy_helper

from autogo_onnx import verify
from autogo_onnx.class_drop import class_drop, log_posterior, softened
from autogo_onnx.gate import Gate
from autogo_onnx.ground import survey
from autogo_onnx.job import begin
from autogo_onnx.options import Options
from autogo_onnx.overconfidence import LEAST_AGREEMENT, overconfidence
from autogo_onnx.progress import Silent
from autogo_onnx.runtime import open_session
from autogo_onnx.views import MIRRORED

COUNT, CLASSES = 2000, 8


def two_views(scale: float, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Class scores of pictures and of their mirror images, float64[COUNT,classes]."""
    rng = np.random.default_rng(0)
    common = 1.5 * rng.standard_normal((COUNT, classes))
    one, other = (common + 0.2 * rng.standard_normal(common.shape) for _ in range(2))
    return scale * one, scale * other


def test_a_network_is_to_claim_no_more_than_it_agrees_with_itself() -> None:
    scores, reflected = two_views(12.0)
    found = overconfidence(scores, reflected)
    assert found is not None
    keeps = (scores.argmax(axis=1) == reflected.argmax(axis=1)).mean()
    assert found.agreement == pytest.approx(keeps)
    assert found.claimed == pytest.approx(np.exp(log_posterior(scores)).max(axis=1).mean())
    assert found.claimed > found.agreement + 0.05
    milder = np.exp(softened(log_posterior(reflected), found.temperature))
    assert 0 < milder.max(axis=1).mean() - keeps < 0.02
    assert f"temperature {found.temperature:.1f}" in str(found)


def test_few_samples_tell_of_little() -> None:
    scores, reflected = two_views(12.0)
    many, few = overconfidence(scores, reflected), overconfidence(scores[:80], reflected[:80])
    assert many is not None
    assert few is None or few.temperature < many.temperature


def test_a_network_that_knows_its_samples_by_heart_is_sure_of_these_alone() -> None:
    scores, reflected = two_views(1.0)
    found = overconfidence(20 * scores, reflected)
    assert found is not None
    assert found.claimed > 0.95
    assert found.temperature == pytest.approx(1.0)


def test_a_network_that_claims_less_stays_as_it_is() -> None:
    assert overconfidence(*two_views(1.0)) is None


def test_a_class_that_turns_into_another_one_forbids_conclusions() -> None:
    scores, reflected = two_views(12.0)
    left = scores.argmax(axis=1) == 3
    reflected[left] = np.roll(reflected[left], 1, axis=1)
    assert (scores.argmax(axis=1) == reflected.argmax(axis=1)).mean() > LEAST_AGREEMENT
    assert overconfidence(scores, reflected) is None


def test_a_network_that_minds_mirroring_altogether_tells_nothing() -> None:
    scores, reflected = two_views(12.0)
    other = reflected + 12 * np.random.default_rng(1).standard_normal(scores.shape)
    assert (scores.argmax(axis=1) == other.argmax(axis=1)).mean() < LEAST_AGREEMENT
    assert overconfidence(scores, other) is None


def test_classes_of_which_there_are_hardly_samples_tell_nothing() -> None:
    scores, reflected = two_views(12.0, classes=200)
    some = slice(0, 300)
    assert overconfidence(scores[some], reflected[some]) is None


def test_a_temperature_softens_the_posterior_and_nothing_that_labels_tell() -> None:
    rng = np.random.default_rng(0)
    scores, _ = two_views(12.0)
    changed = scores + 2 * rng.standard_normal(scores.shape)
    mild = class_drop(scores, changed, None, temperature=3.0)
    told = class_drop(scores / 3, changed / 3, None)
    assert mild.mean == pytest.approx(told.mean)
    assert mild.bound == pytest.approx(told.bound)
    assert mild.mean < class_drop(scores, changed, None).mean
    labels = scores.argmax(axis=1)
    assert class_drop(scores, changed, labels, temperature=3.0) == class_drop(
        scores, changed, labels
    )


def sure(folder: Path, **choices: Any) -> Gate:
    """The gate of a classifier of colour pictures that is very sure of what it says."""
    net = Net("N", 3, 16, 16)
    means = net.op("GlobalAveragePool", net.relu(net.conv("x", 3, 16)))
    scores = net.op("MatMul", net.op("Flatten", means), net.constant(SURENESS))
    np.save(folder / "samples.npy", SAMPLES)
    options = Options(calibration=folder / "samples.npy", target="macs", **choices)
    job = begin(net.model(scores), options, Silent())
    assert job.samples is not None
    return Gate(survey(job, job.samples))


SAMPLES = pictures(1, 256, 3, 16, 16)
SURENESS = 20 * np.random.default_rng(5).standard_normal((16, 4)).astype(np.float32)
SURENESS -= SURENESS.mean(axis=1, keepdims=True)  # As cross-entropy leaves it.


def blurred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The classifier with another filter in the place of one of its sixteen."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    kernel = numpy_helper.to_array(changed.graph.initializer[0]).copy()
    kernel[0] = 0.8 * kernel[0] + 0.2 * kernel[1]
    changed.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(kernel, changed.graph.initializer[0].name)
    )
    return changed


def test_an_overconfident_network_is_judged_on_mirrored_samples_at_its_temperature(
    tmp_path: Path,
) -> None:
    gate = sure(tmp_path)
    assert gate.overconfidence is not None
    changed = blurred(gate.ground.job.original)
    found = gate.judge_unfitted(changed).fidelity
    assert found.drop_bound is not None
    views = [MIRRORED.of(judge) for _, judge in gate.folds]
    before, after = (
        np.concatenate([open_session(m).run(None, dict(v.feeds))[0] for v in views if v])
        for m in (gate.ground.job.original, changed)
    )
    assert found.samples == len(before) == len(SAMPLES)
    told = verify.judge([before], [after], None, temperature=gate.overconfidence.temperature)
    assert found.drop_bound == pytest.approx(told.drop_bound, rel=1e-3)
    surer = verify.judge([before], [after], None).drop_bound
    assert surer is not None
    assert 0 < found.drop_bound < surer


def test_where_labels_or_agreement_decide_no_temperature_is_sought(tmp_path: Path) -> None:
    assert sure(tmp_path, gate="agreement").overconfidence is None
    np.save(tmp_path / "labels.npy", np.arange(256) % 4)
    assert sure(tmp_path, labels=tmp_path / "labels.npy").overconfidence is None
