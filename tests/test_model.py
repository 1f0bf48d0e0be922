from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import onnx
import pytest

from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_text
from autogo_onnx.model import (
    fix_inputs,
    has_external_data,
    infer_shapes,
    load,
    needs_external_data,
    save,
    tensor_shapes,
)

CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,H,W] x) => (float[N,5] y)
<int64[1] axes = {0}, int64 zero = {0}, int64[1] rest = {-1},
 float[3,3,1,1] w = {1,2,3,4,5,6,7,8,9}>
{
  c = Conv(x, w)
  s = Shape(c)
  n = Gather <axis = 0> (s, zero)
  listed = Unsqueeze(n, axes)
  shape = Concat <axis = 0> (listed, rest)
  y = Reshape(c, shape)
}
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    big = onnx.numpy_helper.from_array(np.arange(4096, dtype=np.float32), "big")
    made = from_text("g (float[4096] x) => (float[4096] y) { y = Add(x, big) }")
    made.graph.initializer.append(big)
    return made


def test_saved_models_load_again(model: onnx.ModelProto, tmp_path: Path) -> None:
    save(model, tmp_path / "m.onnx")
    assert load(tmp_path / "m.onnx") == model
    assert not has_external_data(tmp_path / "m.onnx")
    assert not needs_external_data(model)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_external_data_lies_beside_the_model(model: onnx.ModelProto, tmp_path: Path) -> None:
    save(model, tmp_path / "m.onnx", external_data=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert (tmp_path / "m.onnx").stat().st_size < 1024
    assert has_external_data(tmp_path / "m.onnx")
    loaded = load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(loaded.graph.initializer[0]), np.arange(4096, dtype=np.float32)
    )


def test_an_old_file_stays_when_writing_fails(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(InputError, match="No space left"):
        save(model, target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_written_files_are_readable_by_others(model: onnx.ModelProto, tmp_path: Path) -> None:
    save(model, tmp_path / "m.onnx")
    (tmp_path / "plain").touch()
    mode = stat.S_IMODE((tmp_path / "m.onnx").stat().st_mode)
    assert mode == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_unwritable_folder_is_one_line(model: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written: No such file"):
        save(model, tmp_path / "missing" / "m.onnx")


@pytest.mark.parametrize("content", [b"", b"\x08", b"not an onnx file at all", b"\0" * 64])
def test_files_that_are_no_models(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.onnx") as error:
        load(tmp_path / "m.onnx")
    assert "\n" not in str(error.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="Is a directory"):
        load(tmp_path)


def test_truncated_file(model: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString()[:-100])
    with pytest.raises(InputError, match="truncated"):
        load(tmp_path / "m.onnx")


def test_invalid_model(tmp_path: Path) -> None:
    bad = from_text("g (float[2] x) => (float[2] y) { y = Relu(nowhere) }")
    (tmp_path / "m.onnx").write_bytes(bad.SerializeToString())
    with pytest.raises(InputError, match="nowhere") as error:
        load(tmp_path / "m.onnx")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("location", "problem"),
    [("../secret", "outside"), ("/etc/passwd", "outside"), ("gone", "missing"), ("m", "truncated")],
)
def test_external_data_is_confined(
    location: str, problem: str, model: onnx.ModelProto, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 4 * 4096)
    (folder / "m").write_bytes(b"\0" * 100)
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=4 * 4096)
    tensor.ClearField("raw_data")
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=problem):
        load(folder / "m.onnx")


def test_a_link_out_of_the_folder_is_refused(model: onnx.ModelProto, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    save(model, tmp_path / "m.onnx", external_data=True)
    folder.mkdir()
    (tmp_path / "m.onnx").rename(folder / "m.onnx")
    (folder / "m.onnx.data").symlink_to(tmp_path / "m.onnx.data")
    with pytest.raises(InputError, match="outside"):
        load(folder / "m.onnx")


def test_shapes_follow_computed_reshapes() -> None:
    shapes = tensor_shapes(from_text(CHAIN), {"x": (2, 3, 4, 4)})
    assert shapes["c"] == (2, 3, 4, 4)
    assert shapes["shape"] == (2,)
    assert shapes["y"] == (2, 48)
    assert shapes["w"] == (3, 3, 1, 1)


def test_declared_output_shapes_prove_nothing() -> None:
    wrong = from_text("g (float[N,4] x) => (float[N,7] y) { y = Relu(x) }")
    assert "y" not in tensor_shapes(wrong)
    assert tensor_shapes(wrong, {"x": (2, 4)})["y"] == (2, 4)
    inferred = infer_shapes(wrong).graph.output[0].type.tensor_type.shape.dim
    assert inferred[1].dim_value == 4
    assert wrong.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 7


def test_fixed_inputs() -> None:
    model = from_text(CHAIN)
    fixed = fix_inputs(model, {"x": (2, 3, 4, 4)})
    dims = fixed.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == [2, 3, 4, 4]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    for shape, problem in [((2, 4, 4, 4), "declared"), ((2, 3, 4), "declared")]:
        with pytest.raises(InputError, match=problem):
            fix_inputs(model, {"x": shape})
    with pytest.raises(InputError, match="no input 'z'"):
        fix_inputs(model, {"z": (1,)})


def test_all_shapes_of_real_models_are_found(shared: Path) -> None:
    sizes = {"cifar10_resnet20_bn": (1, 3, 32, 32), "ppocr_v2_cls": (1, 3, 48, 192)}
    sizes |= {"yunet_n_dynamic": (1, 3, 320, 320), "vit_pgd_2_3_16": (2, 3, 32, 32)}
    for name, shape in sizes.items():
        model = load(shared / "zoo" / f"{name}.onnx")
        shapes = tensor_shapes(model, {model.graph.input[0].name: shape})
        made = {tensor for node in model.graph.node for tensor in node.output}
        assert made <= shapes.keys(), name
