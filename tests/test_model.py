from __future__ import annotations

import shutil
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest

from autogo_onnx import model as model_file
from autogo_onnx import runtime, tensor_data
from autogo_onnx.errors import InputError
from autogo_onnx.graph import from_text
from autogo_onnx.model import (
    check,
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


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"length": "100"}, "not the 16384"),
        ({"length": "-1"}, "not the 16384"),
        ({"offset": "-4"}, "at -4"),
        ({"offset": "four"}, "no number"),
        ({"offset": "4"}, "truncated"),
        ({}, None),
        ({"offset": "0"}, None),
        ({"length": "16384", "checksum": "0"}, None),
    ],
)
def test_places_of_external_data_need_not_be_complete_but_right(
    entries: dict[str, str], problem: str | None, model: onnx.ModelProto, tmp_path: Path
) -> None:
    tensor = model.graph.initializer[0]
    (tmp_path / "w").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "w", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    if problem is not None:
        with pytest.raises(InputError, match=problem):
            load(tmp_path / "m.onnx")
        return
    tensor = load(tmp_path / "m.onnx").graph.initializer[0]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), np.arange(4096))
    assert not tensor.external_data


def test_packed_values_stay_packed_in_a_file_of_their_own(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    """Four bits each, held as int32: the data file has two in a byte, as ONNX wants it."""
    values = np.arange(5001) % 16 - 8
    tensor = onnx.helper.make_tensor("four", onnx.TensorProto.INT4, [5001], values)
    assert not tensor.HasField("raw_data")
    model.graph.initializer.append(tensor)
    model.opset_import[0].version, model.ir_version = 21, 10
    save(model, tmp_path / "m.onnx", external_data=True)
    got = onnx.numpy_helper.to_array(load(tmp_path / "m.onnx").graph.initializer[1])
    np.testing.assert_array_equal(got.astype(int), values)


@pytest.mark.parametrize("location", ["loop", "x" * 300, "a\0b"])
def test_places_that_cannot_be_are_told(location: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    odd = from_text("g (float[2] x) => (float[2] y) { y = Add(x, w) }")
    tensor = odd.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT, dims=[2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "m.onnx").write_bytes(odd.SerializeToString())
    with pytest.raises(InputError, match=r"cannot be found|is missing"):
        load(tmp_path / "m.onnx")


def test_sparse_attributes_may_lie_outside_as_little_as_others(tmp_path: Path) -> None:
    odd = from_text("g () => (float[2] y) { y = Constant() }")
    kind = onnx.AttributeProto.SPARSE_TENSOR
    attribute = odd.graph.node[0].attribute.add(name="sparse_value", type=kind)
    attribute.sparse_tensor.dims.append(2)
    values = attribute.sparse_tensor.values
    values.name, values.data_type, values.data_location = "s", 1, onnx.TensorProto.EXTERNAL
    values.dims.append(1)
    values.external_data.add(key="location", value="../outside")
    (tmp_path / "m.onnx").write_bytes(odd.SerializeToString())
    with pytest.raises(InputError, match="outside the folder"):
        load(tmp_path / "m.onnx")


def test_the_checker_is_asked_without_the_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data += b"\0" * 2**18
    with pytest.raises(InputError, match="'big' has 278528 bytes, not 16384"):
        check(model)
    model.graph.initializer[0].dims[0] = 4096 + 2**16
    check(model)
    model.graph.initializer[0].ClearField("raw_data")
    with pytest.raises(InputError, match="'big' has not the 278528 bytes"):
        check(model)
    model.graph.initializer[0].float_data.extend([1.0] * (4096 + 2**16))
    check(model)
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(InputError, match="nowhere"):
        check(model)


def test_a_model_with_external_data_is_rewritten_in_place(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    save(model, path, external_data=True)
    loaded = load(path)
    loaded.graph.initializer[0].raw_data = np.ones(4096, np.float32).tobytes()
    save(loaded, path, external_data=True, source=path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert load(path).graph.initializer[0].raw_data == loaded.graph.initializer[0].raw_data


def test_data_files_of_other_models_are_not_replaced(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    save(model, tmp_path / "b.onnx", external_data=True)
    (tmp_path / "b.onnx").rename(tmp_path / "a.onnx")  # it reads b.onnx.data
    before = load(tmp_path / "a.onnx")
    model.graph.initializer[0].raw_data = b"\0" * 4 * 4096
    for _ in range(2):
        save(model, tmp_path / "b.onnx", external_data=True, source=tmp_path / "a.onnx")
        names = ["a.onnx", "b.onnx", "b.onnx.2.data", "b.onnx.data"]
        assert sorted(p.name for p in tmp_path.iterdir()) == names
        assert load(tmp_path / "a.onnx") == before
        assert load(tmp_path / "b.onnx") == model
    with pytest.raises(InputError, match="holds the weights of"):
        save(model, tmp_path / "b.onnx.data", source=tmp_path / "a.onnx")


@pytest.mark.parametrize("failing", ["m.onnx.data", "m.onnx"])
def test_an_old_model_keeps_its_data_when_writing_fails(
    failing: str, model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    save(model, path, external_data=True)
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.name == failing and self.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return replace(self, target)

    model.graph.initializer[0].raw_data = b"\0" * 4 * 4096
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="Input/output error"):
        save(model, path, external_data=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in three files whose weights are left unread, two of them the same."""
    monkeypatch.setattr(model_file, "_IN_MEMORY_BYTES", 2**10)
    made = from_text("""g (float[N,256] x) => (float[?,?] y) {
      a = MatMul(x, w0)
      b = MatMul(a, w1)
      c = MatMul(b, w2)
      y = Reshape(c, shape)
    }""")
    folder = tmp_path / "in"
    folder.mkdir()
    first = np.random.default_rng(0).standard_normal((2, 256, 256)).astype(np.float32) / 16
    (folder / "one").write_bytes(b"\0" * 5 + first.tobytes())
    (folder / "shape").write_bytes(np.array([-1, 128]).tobytes())
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64)
    size = first[0].nbytes
    for name, kind, dims, location, offset in (
        ("w0", kinds[0], (256, 256), "one", 5),
        ("w1", kinds[0], (256, 256), "one", 5 + size),
        ("w2", kinds[0], (256, 256), "one", 5),
        ("shape", kinds[1], (2,), "shape", 0),
    ):
        tensor = made.graph.initializer.add(name=name, data_type=kind, dims=dims)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset))):
            tensor.external_data.add(key=key, value=value)
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    return folder / "m.onnx"


def test_large_models_refer_to_their_weights(on_disk: Path, tmp_path: Path) -> None:
    model = load(on_disk)
    assert model.ByteSize() < 2000
    assert tensor_shapes(model, {"x": (4, 256)})["y"] == (8, 128)
    feed = {"x": np.random.default_rng(1).standard_normal((4, 256)).astype(np.float32)}
    first = np.fromfile(on_disk.with_name("one"), np.float32, 2 * 256 * 256, offset=5)
    w0, w1 = first.reshape(2, 256, 256)
    expected = (feed["x"] @ w0 @ w1 @ w0).reshape(-1, 128)
    for optimize in (True, False):
        session = runtime.open_session(model, optimize=optimize)
        np.testing.assert_allclose(runtime.run(session, None, feed)[0], expected, atol=1e-5)
    out = tmp_path / "out" / "m.onnx"
    out.parent.mkdir()
    save(model, out, external_data=True)
    save(model, tmp_path / "whole.onnx")
    shutil.rmtree(on_disk.parent)
    assert load(tmp_path / "whole.onnx").graph.node == model.graph.node
    assert not has_external_data(tmp_path / "whole.onnx")
    assert (tmp_path / "out" / "m.onnx.data").stat().st_size == 2 * 256 * 256 * 4
    written = onnx.load(out, load_external_data=False)
    assert {e.value for t in written.graph.initializer for e in t.external_data[:1]} == {
        "m.onnx.data"
    }
    np.testing.assert_array_equal(
        runtime.run(runtime.open_session(out), None, feed)[0],
        runtime.run(runtime.open_session(load(out)), None, feed)[0],
    )


def test_the_weights_of_a_large_message_are_put_aside(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(2**15, dtype=np.float32)
    wide = from_text("g (float[32768] x) => (float[32768] y) { y = Add(x, big) }")
    wide.graph.initializer.append(onnx.numpy_helper.from_array(values, "big"))
    save(wide, tmp_path / "m.onnx")
    monkeypatch.setattr(model_file, "_IN_MESSAGE_BYTES", 2**10)
    loaded = load(tmp_path / "m.onnx")
    assert loaded.ByteSize() < 1000
    np.testing.assert_array_equal(tensor_data.value(loaded.graph.initializer[0]), values)
    save(loaded, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_weights_that_were_changed_meanwhile_are_refused(on_disk: Path, tmp_path: Path) -> None:
    model = load(on_disk)
    data = on_disk.with_name("one")
    content = data.read_bytes()
    data.unlink()
    data.write_bytes(content[::-1])
    with pytest.raises(InputError, match=r"one: was changed"):
        runtime.open_session(model)
    data.unlink()
    with pytest.raises(InputError, match="one"):
        save(model, tmp_path / "m.onnx")
    assert not list(tmp_path.glob("*m.onnx*"))


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
