"""Models that are larger than one file may be: how much memory they take, and that none is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from large_models import write_net

from autogo_onnx import latency, optimize, results
from autogo_onnx import model as model_file
from autogo_onnx.graph import constant_value, from_model, is_constant
from autogo_onnx.messages import refers_to_files
from autogo_onnx.model import load, save
from autogo_onnx.report import ParetoPoint
from autogo_onnx.sizes import digest

RULES = {"eliminate_identity", "fuse_conv_bn", "fuse_mul_add"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is gone after the test, since its files are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model that is treated as a large one."""
    monkeypatch.setattr(model_file, "_IN_MEMORY_BYTES", 2**10)
    (folder / "in").mkdir()
    path = folder / "in" / "m.onnx"
    write_net(path, convs=2, channels=64, layers=2, width=512)
    return path


def outputs(path: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    """What plain ONNX Runtime makes of the file; weights are mapped, not copied."""
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.add_session_config_entry("session.disable_prepacking", "1")
    session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, feed)
    return np.asarray(result)


def places(path: Path) -> set[tuple[str, str]]:
    """Every tensor's file and offset."""
    model = onnx.load(path, load_external_data=False)
    found = set()
    for tensor in model.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries:
            assert set(entries) == {"location", "offset", "length"}
            found.add((entries["location"], entries["offset"]))
    return found


def feed_of(channels: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(7).standard_normal((2, channels, 2, 2), np.float32)}


def test_new_weights_of_large_models_leave_memory_too(small: Path) -> None:
    report = optimize(small, target="macs")
    assert {entry.rule for entry in report.rewrites} >= RULES
    assert report.model.ByteSize() < 10_000
    assert refers_to_files(report.model)
    out = small.parents[1] / "out"
    out.mkdir()
    results.write(report, results.Places(model=out / "m.onnx"), like=small)
    before = outputs(small, feed_of(64))
    shutil.rmtree(small.parent)
    after = outputs(out / "m.onnx", feed_of(64))
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())
    assert {name for name, _ in places(out / "m.onnx")} == {"m.onnx.data"}


def test_a_large_model_is_optimized_in_place(small: Path) -> None:
    before = outputs(small, feed_of(64))
    for count in (1, 0):
        report = optimize(small, target="macs")
        assert bool(report.rewrites) == bool(count)
        results.write(report, results.Places(model=small), like=small)
        assert sorted(p.name for p in small.parent.iterdir()) == ["m.onnx", "m.onnx.data"]
        after = outputs(small, feed_of(64))
        np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())


def test_the_rest_is_written_before_the_original_is_replaced(small: Path) -> None:
    report = optimize(small, target="macs")
    point = ParetoPoint("rank_00.onnx", None, 0, None, None, load(small))
    front = small.parents[1] / "front"
    front.mkdir()
    places = results.Places(model=small, pareto=front)
    results.write(replace(report, pareto=(point,)), places, like=small)
    np.testing.assert_allclose(
        outputs(front / "rank_00.onnx", feed_of(64)), outputs(small, feed_of(64)), atol=1e-3
    )


def test_large_models_are_the_same_as_small_ones(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    referring = optimize(small, target="macs").model
    monkeypatch.setattr(model_file, "_IN_MEMORY_BYTES", 2**30)
    held = optimize(small, target="macs").model
    assert refers_to_files(referring)
    assert not refers_to_files(held)
    assert digest(held) == digest(referring)
    for name, model in (("a.onnx", held), ("b.onnx", referring)):
        save(model, small.with_name(name), external_data=True)
    data = [small.with_name(f"{name}.onnx.data").read_bytes() for name in "ab"]
    assert data[0] == data[1]


def test_constants_in_files_are_mapped_and_looked_at_only_when_asked(small: Path) -> None:
    graph = from_model(load(small))
    kernel = next(node for node in graph.nodes if node.op == "Conv").inputs[1]
    small.with_name("m.onnx.data").rename(small.with_name("away"))
    assert is_constant(kernel)
    small.with_name("away").rename(small.with_name("m.onnx.data"))
    value = constant_value(kernel)
    assert isinstance(value, np.memmap)
    assert not value.flags.writeable


def test_large_models_are_timed_one_after_the_other(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    interleave = latency.interleave

    def counting(sessions: list[ort.InferenceSession], *args: object, **kwargs: object) -> object:
        together.append(len(sessions))
        return interleave(sessions, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(latency, "interleave", counting)
    model = load(small)
    paired = latency.compare(model, model, feed_of(64), seconds=0.05)
    assert together == [1, 1, 1]
    assert paired.ratio_p10 > 0


@pytest.mark.slow
def test_memory_stays_below_one_and_a_half_times_the_weights(folder: Path) -> None:
    source, result = folder / "in" / "big.onnx", folder / "out" / "big.onnx"
    source.parent.mkdir()
    result.parent.mkdir()
    weight_bytes = write_net(source, convs=7, channels=2048, layers=6, width=8192)
    assert weight_bytes > 2.5e9
    command = [sys.executable, "-m", "autogo_onnx", "optimize", str(source), "-o", str(result)]
    # What is counted does not depend on how busy the machine is.
    command += ["--level", "exact", "--target", "macs"]
    command += ["--report", str(folder / "report.json")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder) as process:
        # The largest resident set: mapped pages of files count too, though they can be dropped.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    print(f"peak: {usage.ru_maxrss * 1024 / weight_bytes:.2f} times the weights")  # noqa: T201
    assert usage.ru_maxrss * 1024 <= 1.5 * weight_bytes
    text = (folder / "report.json").read_text(encoding="utf-8")
    assert all(f'"{rule}"' in text for rule in RULES)
    feed = feed_of(2048)
    before = outputs(source, feed)
    shutil.rmtree(source.parent)
    after = outputs(result, feed)
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())
    assert {name for name, _ in places(result)} == {"big.onnx.data"}
    assert sorted(p.name for p in result.parent.glob("*.onnx*")) == ["big.onnx", "big.onnx.data"]
    assert str(source.parent).encode() not in result.read_bytes()
