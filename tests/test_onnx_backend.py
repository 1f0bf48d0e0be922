"""The onnx wheel's own tests of backends, over 2,000 models, through the exact level.

A model that ONNX Runtime runs must give its stored outputs afterwards; one that it does not run
must come back unchanged, with a reason. Nothing is sampled away; the shards only spread the work.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import autogo_onnx
from autogo_onnx import runtime, signature
from autogo_onnx.errors import InputError
from autogo_onnx.report import Report

SHARDS = 12
KINDS_IN_FILES = ("simple", "pytorch-converted", "pytorch-operator")


@dataclass(frozen=True)
class Case:
    """A model, and for every run its inputs and outputs."""

    name: str
    model: onnx.ModelProto
    runs: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float


@cache
def cases() -> list[Case]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases divide by zero on purpose
        found = [
            Case(t.name, t.model, t.data_sets, t.rtol, t.atol)
            for t in load_model_tests(kind="node")
            if t.model is not None and t.data_sets is not None
        ]
    for kind in KINDS_IN_FILES:
        for test in sorted(load_model_tests(kind=kind), key=lambda test: test.name):
            folder = Path(test.model_dir or "")
            model = onnx.load(folder / "model.onnx")
            runs = [stored(data, model) for data in sorted(folder.glob("test_data_set_*"))]
            found.append(Case(test.name, model, runs, test.rtol, test.atol))
    return found


def stored(folder: Path, model: onnx.ModelProto) -> tuple[list[Any], list[Any]]:
    inputs, outputs = (
        [
            value(path.read_bytes(), info.type)
            for i, info in enumerate(infos)
            if (path := folder / f"{kind}_{i}.pb").exists()
        ]
        for kind, infos in (("input", model.graph.input), ("output", model.graph.output))
    )
    return inputs, outputs


def value(data: bytes, kind: onnx.TypeProto) -> Any:
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def outputs(
    model: onnx.ModelProto, runs: Sequence[tuple[Sequence[Any], Sequence[Any]]]
) -> list[list[Any]]:
    """What ONNX Runtime makes of the stored inputs.

    Raises:
        InputError: it cannot run them.
    """
    session = runtime.open_session(model, optimize=False)
    names = [info.name for info in model.graph.input]
    results = []
    for inputs, _ in runs:
        feed = {
            name: np.asarray(v) if isinstance(v, np.generic) else v
            for name, v in zip(names, inputs, strict=False)
        }
        if not all(v is None or isinstance(v, list) or is_plain(v) for v in feed.values()):
            raise InputError("NumPy does not have the type of an input")
        results.append(runtime.run(session, None, feed))
    return results


def is_plain(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "biufcOSUT"


def is_close(expected: Any, got: Any, case: Case) -> bool:
    if isinstance(expected, (list, tuple)):
        return len(expected) == len(got) and all(
            is_close(e, g, case) for e, g in zip(expected, got, strict=True)
        )
    if expected is None or got is None:
        return expected is got
    one, other = np.asarray(expected), np.asarray(got)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind in "fc":
        return np.allclose(other, one, rtol=case.rtol, atol=case.atol, equal_nan=True)
    return bool((one == other).all())


def problem(case: Case, report: Report) -> str | None:
    """What is wrong with the result; None if nothing is."""
    reasons = [skip.reason for skip in report.skipped]
    broken = [reason for reason in reasons if "broke its promise" in reason]
    if broken:
        return broken[0]
    if signature.problems(case.model, report.model):
        return "it has another face"
    try:
        before = outputs(case.model, case.runs)
    except InputError:
        # The model may run on other inputs than the stored ones, and is then verified on those.
        left = any("left exactly as it is" in reason for reason in reasons)
        return None if left or not report.changed else "changed, but it does not run"
    if not report.changed:
        return None
    for (_, expected), old, new in zip(
        case.runs, before, outputs(report.model, case.runs), strict=True
    ):
        # Where ONNX Runtime differs from the stored outputs by itself, it is what counts.
        if not is_close(expected, new, case) and not is_close(old, new, case):
            return "its outputs differ"
    return None


@pytest.mark.parametrize("shard", range(SHARDS))
def test_stored_outputs(shard: int) -> None:
    failed = {}
    for case in cases()[shard::SHARDS]:
        before = case.model.SerializeToString()
        report = autogo_onnx.optimize(case.model, level="exact", target="macs")
        found = problem(case, report)
        if found:
            failed[case.name] = found
        assert case.model.SerializeToString() == before, case.name
    assert not failed


def test_the_suite_is_whole() -> None:
    """So that an empty loader does not pass for a clean bill."""
    assert len(cases()) > 1500
