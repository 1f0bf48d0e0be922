from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from autogo_onnx import calibration, sample_files
from autogo_onnx.calibration import MIN_SAMPLES, Samples
from autogo_onnx.errors import InputError
from autogo_onnx.options import Options

N = MIN_SAMPLES
PLAIN = Options()


def model(*inputs: tuple[str, int, list[int | str | None]]) -> onnx.ModelProto:
    infos = [onnx.helper.make_tensor_value_info(*i) for i in inputs]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 10])
    graph = onnx.helper.make_graph([], "g", infos, [output])
    return onnx.helper.make_model(graph, ir_version=8)


FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
PICTURES = model(("x", FLOAT, ["N", 3, 4, 4]))
VECTORS = model(("x", FLOAT, ["N", 4]))


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def random(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def write_images(folder: Path, count: int, size: tuple[int, int] = (4, 4)) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size[1], size[0], 3), np.uint8)
    for index, picture in enumerate(pixels):
        path = folder / f"{index % 3}" / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


# Arrays


def test_npy_and_npz_give_the_same_samples(tmp_path: Path) -> None:
    array = random(N, 4)
    np.savez(tmp_path / "s.npz", anything=array)
    for path in (save(tmp_path / "s.npy", array), tmp_path / "s.npz"):
        samples = calibration.load(path, VECTORS, PLAIN)
        assert len(samples) == N
        np.testing.assert_array_equal(samples.feeds["x"], array)
        assert samples.batch is None
        assert not samples.whole


def test_float64_is_cast_to_the_type_of_the_input(tmp_path: Path) -> None:
    path = save(tmp_path / "s.npy", random(N, 4, dtype="float64"))
    assert calibration.load(path, VECTORS, PLAIN).feeds["x"].dtype == np.float32


def test_a_folder_of_arrays_is_read_in_the_order_of_paths(tmp_path: Path) -> None:
    array = random(N, 4)
    for index in reversed(range(N)):
        save(tmp_path / f"{index:02}.npy", array[index])
    feeds = calibration.load(tmp_path, VECTORS, PLAIN).feeds
    np.testing.assert_array_equal(feeds["x"], array)


def test_whole_feeds_with_a_batch_of_one_become_rows(tmp_path: Path) -> None:
    path = save(tmp_path / "s.npy", random(N, 1, 3, 4, 4))
    for leading in ("N", 1, None):
        samples = calibration.load(path, model(("x", FLOAT, [leading, 3, 4, 4])), PLAIN)
        assert samples.feeds["x"].shape == (N, 3, 4, 4)
        assert not samples.whole


def test_inputs_without_a_batch_axis_are_fed_one_entry_a_run(tmp_path: Path) -> None:
    speech = model(("a", FLOAT, ["N", None]), ("h", FLOAT, [2, None, 8]), ("rate", INT64, []))
    np.savez(tmp_path / "s.npz", a=random(N, 16), h=random(N, 2, 1, 8), rate=np.int64(16000))
    samples = calibration.load(tmp_path / "s.npz", speech, PLAIN)
    assert samples.whole == {"h", "rate"}
    feeds = list(samples.batches(32))
    assert len(feeds) == N
    assert {n: a.shape for n, a in feeds[0].items()} == {"a": (1, 16), "h": (2, 1, 8), "rate": ()}


def test_a_static_batch_is_the_only_batch(tmp_path: Path) -> None:
    path = save(tmp_path / "s.npy", random(10, 4))
    samples = calibration.load(path, model(("x", FLOAT, [4, 4])), PLAIN)
    feeds = list(samples.batches(32))
    assert [f["x"].shape for f in feeds] == [(4, 4)] * 3
    np.testing.assert_array_equal(feeds[-1]["x"][1:], np.repeat(samples.feeds["x"][9:], 3, axis=0))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (random(N, 5), r"is \[8, 5\], the model needs \[N, 4\]"),
        (random(N), r"is \[8\], the model needs \[N, 4\]"),
        (random(N, 1, 1, 4), r"is \[8, 1, 1, 4\]"),
        (np.zeros((N, 4), np.uint8), "is uint8, the model takes float32"),
        (np.zeros((N, 4), np.complex64), "is complex64"),
        (np.full((N, 4), np.nan), r"NaN or infinity, first at \[0, 0\]"),
        (np.full((N, 4), 1e300), "NaN or infinity"),
        (random(N - 1, 4), f"{N - 1} samples: at least {N} are needed"),
        (random(0, 4), f"0 samples: at least {N} are needed"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    path = save(tmp_path / "s.npy", array)
    with pytest.raises(InputError, match=message) as caught:
        calibration.load(path, VECTORS, PLAIN)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_integers_must_fit_into_the_type_of_the_input(tmp_path: Path) -> None:
    tokens = model(("x", onnx.TensorProto.INT32, ["N", 4]))
    path = save(tmp_path / "s.npy", np.full((N, 4), 7, np.int64))
    assert calibration.load(path, tokens, PLAIN).feeds["x"].dtype == np.int32
    save(path, np.full((N, 4), 1 << 40, np.int64))
    with pytest.raises(InputError, match="do not fit into int32"):
        calibration.load(path, tokens, PLAIN)
    save(path, np.full((N, 4), 7.0))
    with pytest.raises(InputError, match="is float64, the model takes int32"):
        calibration.load(path, tokens, PLAIN)


def test_a_missing_input_and_unequal_lengths_are_named(tmp_path: Path) -> None:
    two = model(("a", FLOAT, ["N", 4]), ("b", FLOAT, ["N", 4]))
    np.savez(tmp_path / "s.npz", a=random(N, 4))
    with pytest.raises(InputError, match="no array for input 'b', only a"):
        calibration.load(tmp_path / "s.npz", two, PLAIN)
    np.savez(tmp_path / "s.npz", a=random(N, 4), b=random(N + 1, 4))
    with pytest.raises(InputError, match="input 'a' has 8 samples, another has 9"):
        calibration.load(tmp_path / "s.npz", two, PLAIN)
    with pytest.raises(InputError, match=r"use \.npz"):
        calibration.load(save(tmp_path / "s.npy", random(N, 4)), two, PLAIN)


@pytest.mark.parametrize("name", ["s.npy", "s.npz", "s.txt", "missing.npz", "folder"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x93NUMPY\x01\x00\xff\xff{", b"PK\x03\x04"])
def test_broken_files_are_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "folder").mkdir()
    if "." in name and not name.startswith("missing"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        calibration.load(tmp_path / name, VECTORS, PLAIN)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_is_refused_in_one_line(tmp_path: Path) -> None:
    """Flipped bits meet the reader of archives, the unpacker and the reader of headers."""
    path = tmp_path / "s.npz"
    np.savez_compressed(path, a=np.arange(300.0), b=np.eye(3))
    whole, choice, refusals = path.read_bytes(), np.random.default_rng(0), []
    for _ in range(400):
        damaged = bytearray(whole)
        for place in choice.integers(0, len(whole), 3):
            damaged[place] ^= 1 << int(choice.integers(0, 8))
        path.write_bytes(damaged)
        try:
            sample_files.read_npz(path)
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 300
    assert not any("\n" in text for text in refusals)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="no readable"):
        calibration.load(path, VECTORS, PLAIN)


def test_announced_sizes_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 4), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    (tmp_path / "s.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes([118, 0]) + header)
    with pytest.raises(InputError, match="GiB in memory"):
        calibration.load(tmp_path / "s.npy", VECTORS, PLAIN)


def test_a_zip_bomb_is_refused_by_its_announced_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 20))
    monkeypatch.setattr(sample_files, "MAX_BYTES", 1 << 10)
    with pytest.raises(InputError, match="use fewer samples"):
        calibration.load(tmp_path / "s.npz", VECTORS, PLAIN)


# Images


@pytest.mark.parametrize("channels_first", [True, False])
def test_images_are_scaled_and_laid_out_as_the_model_wants(
    tmp_path: Path, channels_first: bool
) -> None:
    write_images(tmp_path, N)
    dims: list[int | str | None] = ["N", 3, 4, 4] if channels_first else ["N", 4, 4, 3]
    options = Options(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    x = calibration.load(tmp_path, model(("x", FLOAT, dims)), options).feeds["x"]
    first = np.asarray(Image.open(tmp_path / "0" / "000.png"), np.float64)
    wanted = (first / 255 - options.mean) / options.std
    got = x[0].transpose(1, 2, 0) if channels_first else x[0]
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous


def test_an_input_of_bytes_gets_the_pixels(tmp_path: Path) -> None:
    write_images(tmp_path, N)
    raw = model(("x", onnx.TensorProto.UINT8, ["N", 4, 4, 3]))
    x = calibration.load(tmp_path, raw, PLAIN).feeds["x"]
    np.testing.assert_array_equal(x[0], np.asarray(Image.open(tmp_path / "0" / "000.png")))


def test_images_are_sorted_by_relative_path(tmp_path: Path) -> None:
    write_images(tmp_path, N)
    x = calibration.load(tmp_path, PICTURES, Options(scale=1.0)).feeds["x"]
    for index, name in enumerate(["0/000", "0/003", "0/006", "1/001", "1/004", "1/007"]):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png"))
        np.testing.assert_array_equal(x[index].transpose(1, 2, 0), pixels)


def test_one_channel_is_gray(tmp_path: Path) -> None:
    write_images(tmp_path, N)
    gray = model(("x", FLOAT, ["N", 1, None, None]))
    x = calibration.load(tmp_path, gray, Options(scale=1.0)).feeds["x"]
    picture = Image.open(tmp_path / "0" / "000.png").convert("L")
    np.testing.assert_array_equal(x[0, 0], np.asarray(picture))


def test_images_are_resized_only_to_a_demanded_size(tmp_path: Path) -> None:
    write_images(tmp_path, N, size=(6, 5))
    assert calibration.load(tmp_path, PICTURES, PLAIN).feeds["x"].shape == (N, 3, 4, 4)
    free = model(("x", FLOAT, ["N", 3, "H", "W"]))
    assert calibration.load(tmp_path, free, PLAIN).feeds["x"].shape == (N, 3, 5, 6)


def test_images_of_two_sizes_need_a_demanded_size(tmp_path: Path) -> None:
    write_images(tmp_path, N)
    write_images(tmp_path / "big", 1, size=(6, 5))
    assert len(calibration.load(tmp_path, PICTURES, PLAIN)) == N + 1
    with pytest.raises(InputError, match=r"000.png is 4x4, .*big.*000.png is 6x5"):
        calibration.load(tmp_path, model(("x", FLOAT, ["N", 3, None, None])), PLAIN)


@pytest.mark.parametrize(
    ("dims", "options", "message"),
    [
        (["N", 4, 8, 8], PLAIN, "no axis of 1 or 3 channels"),
        (["N", None, None, None], PLAIN, "set --layout"),
        (["N", 12], PLAIN, "no batch of pictures"),
        (["N", 3, 4, 4], Options(mean=(0.1, 0.2)), "mean has 2 values, the input has 3 channels"),
        (["N", 3, 4, 4], Options(std=(0.0,)), "must be positive"),
        (["N", 3, 4, 4], Options(std=(float("nan"),)), "must be positive"),
    ],
)
def test_inputs_that_are_no_pictures_are_refused(
    tmp_path: Path, dims: list[int | str | None], options: Options, message: str
) -> None:
    write_images(tmp_path, N)
    with pytest.raises(InputError, match=message):
        calibration.load(tmp_path, model(("x", FLOAT, dims)), options)


def test_an_explicit_layout_settles_unknown_channels(tmp_path: Path) -> None:
    write_images(tmp_path, N)
    free = model(("x", FLOAT, [None, None, None, None]))
    for layout, shape in (("nchw", (N, 3, 4, 4)), ("nhwc", (N, 4, 4, 3))):
        options = Options(layout=layout)  # type: ignore[arg-type]
        assert calibration.load(tmp_path, free, options).feeds["x"].shape == shape


def test_an_unreadable_image_and_a_mixed_folder_are_named(tmp_path: Path) -> None:
    write_images(tmp_path, N)
    (tmp_path / "zz.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"zz.jpg is no readable image"):
        calibration.load(tmp_path, PICTURES, PLAIN)
    save(tmp_path / "a.npy", random(3, 4, 4))
    with pytest.raises(InputError, match="mixes images and arrays"):
        calibration.load(tmp_path, PICTURES, PLAIN)


# Labels


def test_labels_come_from_npy_and_csv(tmp_path: Path) -> None:
    data = save(tmp_path / "s.npy", random(N, 4))
    save(tmp_path / "labels.npy", np.arange(N, dtype=np.uint8))
    lines = [f"picture{i}.png,{i}" for i in range(N)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    for name in ("labels.npy", "labels.csv"):
        samples = calibration.load(data, VECTORS, Options(labels=tmp_path / name))
        assert samples.labels is not None
        assert samples.labels.tolist() == list(range(N))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n2\n", "2 for 8 samples"),
        ("0\n" * 7 + "10\n", "number 7 is 10, class indices run from 0 to 9"),
        ("0\n" * 7 + "cat\n", "entry 8 is 'cat'"),
        ("0\n" * 7 + "-1\n", "entry 8 is '-1'"),
        ("", "0 for 8 samples"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, content: str, message: str) -> None:
    data = save(tmp_path / "s.npy", random(N, 4))
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        calibration.load(data, VECTORS, Options(labels=tmp_path / "labels.csv"))


def test_float_labels_are_refused(tmp_path: Path) -> None:
    data = save(tmp_path / "s.npy", random(N, 4))
    labels = save(tmp_path / "labels.npy", random(N))
    with pytest.raises(InputError, match="whole numbers"):
        calibration.load(data, VECTORS, Options(labels=labels))


# Parts, batches and noise


def test_split_is_seeded_disjoint_and_complete() -> None:
    x = np.arange(100)[:, None]
    samples = Samples({"x": x}, labels=np.arange(100))
    fit, held_out = calibration.split(samples, seed=3)
    assert (len(fit), len(held_out)) == (75, 25)
    seen = np.concatenate([fit.feeds["x"], held_out.feeds["x"]])[:, 0]
    assert sorted(seen.tolist()) == list(range(100))
    assert held_out.labels is not None
    np.testing.assert_array_equal(held_out.labels, held_out.feeds["x"][:, 0])
    again = calibration.split(samples, seed=3)[1]
    np.testing.assert_array_equal(again.feeds["x"], held_out.feeds["x"])
    other = calibration.split(samples, seed=4)[1]
    assert not np.array_equal(other.feeds["x"], held_out.feeds["x"])


def test_the_smallest_calibration_leaves_two_to_judge_by() -> None:
    fit, held_out = calibration.split(Samples({"x": np.zeros((MIN_SAMPLES, 1))}), seed=0)
    assert (len(fit), len(held_out)) == (6, 2)


def test_batches_cover_all_samples_in_order() -> None:
    samples = Samples({"x": np.arange(10)})
    assert [b["x"].tolist() for b in samples.batches(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_noise_is_seeded_and_has_the_shape_of_the_inputs() -> None:
    faces = model(("a", FLOAT, ["N", 3, "H", "W"]), ("h", FLOAT, [2, None]), ("r", INT64, []))
    samples = calibration.noise(faces, 3, seed=1)
    feed = next(samples.batches(1))
    assert {n: a.shape for n, a in feed.items()} == {"a": (1, 3, 64, 64), "h": (2, 16), "r": ()}
    again = calibration.noise(faces, 3, seed=1)
    np.testing.assert_array_equal(samples.feeds["a"], again.feeds["a"])
    assert not np.array_equal(samples.feeds["a"][0], samples.feeds["a"][1])
