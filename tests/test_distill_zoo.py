"""The benchmark of distilling: what trains, what gates and what tells are different samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import classifier, samples

from autogo_onnx.metric import load_metric
from autogo_onnx.runtime import open_session, run
from benchmarks import distill_zoo, half_of_test
from benchmarks.cases import CASES, TRAINED, Case
from benchmarks.quality import Top1, halves, hits


def answers(x: np.ndarray) -> np.ndarray:
    scores = run(open_session(classifier()), None, {"x": x})[0]
    classes: np.ndarray = scores.argmax(axis=1)
    return classes


def labelled() -> tuple[np.ndarray, np.ndarray]:
    x = samples(31)
    return x, answers(x)


def test_halves_share_no_sample_and_leave_none_out() -> None:
    (x, y), (first, labels), (second, _) = labelled(), *(half() for half in halves(labelled))
    assert len(first) == 16
    assert np.array_equal(first, x[::2])
    assert np.array_equal(second, x[1::2])
    assert np.array_equal(labels, y[::2])


def test_hits_tell_of_every_sample(tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "same.onnx")
    onnx.save(classifier(seed=1), tmp_path / "other.onnx")
    assert hits(tmp_path / "same.onnx", labelled).tolist() == [True] * 31
    assert 0 <= hits(tmp_path / "other.onnx", labelled).sum() < 31


@pytest.mark.parametrize("labels", [False, True])
def test_what_is_learnt_from_is_written_with_its_labels(tmp_path: Path, labels: bool) -> None:
    case = Case("tiny", samples, Top1(labelled), train=labelled, metric="tiny")
    arguments = distill_zoo.lessons_of(case, tmp_path, labels=labels)
    written = np.load(arguments[1])
    assert sorted(map(bytes, written)) == sorted(map(bytes, labelled()[0]))
    assert ("--distill-labels" in arguments) == labels
    if labels:
        assert np.array_equal(np.load(arguments[3]), answers(written))


def test_every_network_with_labels_has_a_metric() -> None:
    for case in (*CASES, *TRAINED):
        assert isinstance(case.quality, Top1) == (case.metric is not None)
        if case.metric is not None:
            load_metric(f"{half_of_test.__file__}:{case.metric}")
