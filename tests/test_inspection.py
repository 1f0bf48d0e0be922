"""`inspect`, `segments` and `db` on the demo model and a small database."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from autogo_onnx import cli, demo
from autogo_onnx.inspection import inspect
from autogo_onnx.model import load
from autogo_onnx.segment_db.build import build
from autogo_onnx.segment_db.pipeline import Settings
from autogo_onnx.segment_db.store import open_store
from autogo_onnx.sizes import batch_of_one, size


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.copy_to(tmp_path_factory.mktemp("demo"))[0]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("db") / "segments.db"
    build(path, Settings((("hiaml", 8), ("nasbench_macro", 8)), least_share=0))
    return path


def test_size_counts_what_the_network_holds(digits: Path) -> None:
    found = size(load(digits))
    # 3x3 at 8x8: stem 1x32, four of 32x32; 3x3 at 4x4: 32x64, three of 64x64; 1x1 32x64; linear.
    at_8, at_4 = 64 * 9 * (32 + 4 * 32**2), 16 * (9 * (32 * 64 + 3 * 64**2) + 32 * 64)
    assert found.macs == at_8 + at_4 + 640
    weights = 9 * (32 + 4 * 32**2 + 32 * 64 + 3 * 64**2) + 32 * 64 + 640 + 10
    assert found.params == weights + 4 * (5 * 32 + 5 * 64)
    assert found.nodes == 36


def test_inspection_adds_up(digits: Path, database: Path) -> None:
    found = inspect(load(digits), open_store(database).vocabulary())
    assert found.inputs == ("image float[N,1,8,8]",)
    assert found.outputs == ("scores float[N,10]",)
    assert (found.opset, found.unknown) == (17, 0)
    assert sum(macs for _, _, macs in found.kinds) == found.size.macs
    assert sum(s.macs for s in found.segments) == found.size.macs
    names = [name for segment in found.segments for name in segment.nodes]
    assert len(names) == len(set(names)) == 36 - 10  # BatchNormalization is folded first


def test_unknown_shapes_are_told_not_guessed(digits: Path, database: Path) -> None:
    model = load(digits)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "any"
    assert batch_of_one(model) == {}
    found = inspect(model, open_store(database).vocabulary())
    assert found.unknown == 11
    assert found.size.macs == 0


def test_a_model_that_cannot_be_edited_has_a_size(digits: Path) -> None:
    model = load(digits)
    values = onnx.helper.make_tensor("s", onnx.TensorProto.FLOAT, [1], [1.0])
    indices = onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [4]))
    assert size(model).macs == size(load(digits)).macs > 0
    assert size(model).nodes == 36


def test_commands_print_what_was_found(
    digits: Path, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def out(*arguments: object) -> str:
        assert cli.run([str(a) for a in arguments]) == 0
        return capsys.readouterr().out

    with_database = ("--segment-db", database)
    assert "block0.conv1" in out("inspect", digits, *with_database)
    lines = out("segments", digits, *with_database).splitlines()
    assert sum("\t" in line for line in lines) == 26
    assert "by family" in out("db", "info", *with_database)
    mine = tmp_path / "mine.db"
    mine.write_bytes(database.read_bytes())
    assert " new segments, " in out("db", "add", digits, "--segment-db", mine)
    (segment, *_) = open_store(mine).with_boundary(1, 1)
    assert "t0 [" in out("db", "show", segment.id, "--segment-db", mine)
    assert "hiaml" in out("db", "info", "--segment-db", mine)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "missing.onnx"), "missing.onnx: No such file"),
        (("db", "info", "--segment-db", "missing.db"), "no such segment database"),
        (("db", "show", "nothing"), "no segment 'nothing'"),
    ],
)
def test_what_is_not_there_is_one_line(
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--segment-db" not in arguments:
        arguments = (*arguments, "--segment-db", str(database))
    assert cli.run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
