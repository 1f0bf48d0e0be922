"""The command `train`: options, exit codes, files; without torch, one line."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from autogo_onnx import cli, training
from autogo_onnx.commands.train import train as command
from autogo_onnx.demo import copy_to
from autogo_onnx.training import TrainOptions

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.run(["train", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_every_option_has_the_default_of_the_library(tmp_path: Path) -> None:
    arguments = ["m.onnx", "-o", "o.onnx", "--data", "d.npz"]
    given = command.make_context("train", arguments).params
    others = {"model", "output", "report_path", "quiet"}
    chosen = {name: value for name, value in given.items() if name not in others}
    assert TrainOptions(**chosen) == TrainOptions(Path("d.npz"))


def test_without_torch_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, samples, _ = copy_to(tmp_path)
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    code, _, err = run(capsys, model, "-o", tmp_path / "out.onnx", "--data", samples)
    assert (code, err) == (2, "error: training needs torch: pip install 'autogo-onnx[train]'\n")
    assert not (tmp_path / "out.onnx").exists()


@needs_torch
def test_the_demo_is_trained_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _, held_out = copy_to(tmp_path)
    out, report = tmp_path / "out.onnx", tmp_path / "report.json"
    with np.load(held_out) as arrays:
        np.savez(tmp_path / "few.npz", **{name: a[:64] for name, a in arrays.items()})
    options = f"--data {tmp_path}/few.npz --epochs 1 --threads 1 --report {report} -q"
    code, text, err = run(capsys, model, "-o", out, *options.split())
    assert (code, err) == (0, "")
    assert text.startswith("top-1 on 6 held-out samples: 1.0000 -> ")
    assert "trained 169,834 parameters on 58 samples" in text
    told: dict[str, Any] = json.loads(report.read_text())
    assert (told["schema"], told["samples"], len(told["epochs"])) == (1, 58, 1)
    old, new = onnx.load(model), onnx.load(out)
    assert new.graph.node == old.graph.node
    assert [t.name for t in new.graph.initializer] == [t.name for t in old.graph.initializer]


@needs_torch
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--data {tmp}/missing.npz", "training data {tmp}/missing.npz does not exist"),
        ("--data {tmp}/calibration.npz", "says nothing of the wanted outputs"),
        ("--data {tmp}/digits.onnx", "is neither .npz, .npy nor a folder"),
        ("--data {tmp}/held_out.npz --labels {tmp}/x.csv", "labels are both in"),
        ("--data {tmp}/held_out.npz --epochs 0", "'--epochs': 0 is not in the range x>=1"),
        ("--data {tmp}/held_out.npz --teacher {tmp}/none.onnx", "none.onnx"),
        ("--data {tmp}/held_out.npz --report {tmp}/no/r.json", "is not a folder"),
        ("--data {tmp}/held_out.npz --report {tmp}/out.onnx", "is something else in this run too"),
        ("--data {tmp}/held_out.npz --report {tmp}/held_out.npz", "is something else in this run"),
        ("--data {tmp}/held_out.npz --learning-rate nan", "nan is no finite number"),
        ("--data {tmp}/held_out.npz --noise inf", "inf is not in the range"),
        ("--data {tmp}/held_out.npz --teacher {tmp}/held_out.npz", "not an ONNX file"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    options: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, *_ = copy_to(tmp_path)
    given = options.format(tmp=tmp_path).split()
    code, out, err = run(capsys, model, "-o", tmp_path / "out.onnx", *given, "-q")
    assert (code, out) == (2, "")
    assert told.format(tmp=tmp_path) in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


@needs_torch
def test_a_gpu_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    model, _, held_out = copy_to(tmp_path)
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: False))
    arguments = (model, "-o", tmp_path / "out.onnx", "--data", held_out, "--device", "cuda", "-q")
    code, _, err = run(capsys, *arguments)
    assert (code, err) == (2, "error: there is no GPU that torch can use: leave --device out\n")
