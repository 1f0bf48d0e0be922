"""Bad input through the real command line: one clear line, exit code 2, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import classifier, samples

from autogo_onnx.cli import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(classifier(), tmp_path / "model.onnx")
    np.save(tmp_path / "samples.npy", samples())
    return tmp_path


def missing(folder: Path) -> list[str]:
    return [str(folder / "nowhere.onnx")]


def no_onnx(folder: Path) -> list[str]:
    (folder / "text.onnx").write_text("hello")
    return [str(folder / "text.onnx")]


def truncated(folder: Path) -> list[str]:
    whole = (folder / "model.onnx").read_bytes()
    (folder / "short.onnx").write_bytes(whole[: len(whole) // 2])
    return [str(folder / "short.onnx")]


def external_data_missing(folder: Path) -> list[str]:
    path = folder / "external.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="w", size_threshold=0)
    (folder / "w").unlink()
    return [str(path)]


def external_data_outside(folder: Path) -> list[str]:
    model = classifier()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    path = folder / "escaping.onnx"
    path.write_bytes(model.SerializeToString())
    return [str(path)]


def wrong_shape(folder: Path) -> list[str]:
    np.save(folder / "bad.npy", np.zeros((64, 1, 10, 10), np.float32))
    return [str(folder / "model.onnx"), "--calibration", str(folder / "bad.npy")]


def wrong_dtype(folder: Path) -> list[str]:
    np.save(folder / "bad.npy", np.full((64, 3, 10, 10), "a"))
    return [str(folder / "model.onnx"), "--calibration", str(folder / "bad.npy")]


def not_a_number(folder: Path) -> list[str]:
    bad = samples()
    bad[5, 0, 0, 0] = np.nan
    np.save(folder / "bad.npy", bad)
    return [str(folder / "model.onnx"), "--calibration", str(folder / "bad.npy")]


def too_few(folder: Path) -> list[str]:
    np.save(folder / "bad.npy", samples(4))
    return [str(folder / "model.onnx"), "--calibration", str(folder / "bad.npy")]


def all_equal(folder: Path) -> list[str]:
    np.save(folder / "bad.npy", np.repeat(samples(1), 64, axis=0))
    return [str(folder / "model.onnx"), "--calibration", str(folder / "bad.npy")]


def broken_table(folder: Path) -> list[str]:
    (folder / "table.json").write_text("{}")
    return [
        *(str(folder / "model.onnx"), "--calibration", str(folder / "samples.npy")),
        *("--latency-table", str(folder / "table.json")),
    ]


def foreign_database(folder: Path) -> list[str]:
    (folder / "other.db").write_bytes(b"SQLite? no")
    return [
        *(str(folder / "model.onnx"), "--calibration", str(folder / "samples.npy")),
        *("--target", "macs", "--segment-db", str(folder / "other.db")),
    ]


CASES: list[tuple[Callable[[Path], list[str]], str]] = [
    (missing, "nowhere.onnx"),
    (no_onnx, "text.onnx"),
    (truncated, "short.onnx"),
    (external_data_missing, "w"),
    (external_data_outside, "secret"),
    (wrong_shape, "bad.npy"),
    (wrong_dtype, "bad.npy"),
    (not_a_number, "NaN"),
    (too_few, "4 samples"),
    (all_equal, "equal"),
    (broken_table, "table.json"),
    (foreign_database, "other.db"),
]


@pytest.mark.parametrize(("make", "named"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_one_line_exit_code_2_nothing_written(
    make: Callable[[Path], list[str]],
    named: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = make(folder)
    before = sorted(folder.iterdir())
    code = run(["optimize", *arguments, "-o", str(folder / "out.onnx"), "--quiet"])
    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    errors = [line for line in told.err.splitlines() if line.strip()]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert named in errors[0]
    assert sorted(folder.iterdir()) == before


def test_unwritable_folder_is_told_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["optimize", str(folder / "model.onnx"), "-o", str(folder / "no" / "out.onnx")])
    assert code == 2
    assert "no" in capsys.readouterr().err
