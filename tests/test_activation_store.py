from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogo_onnx import activation_store as module
from autogo_onnx import half, scratch
from autogo_onnx.activation_store import ActivationStore, StoredTensor
from autogo_onnx.errors import InputError

HALF_STEP = 2.0**-11
"""Largest relative error of a float16 that is no denormal."""


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def stored(*arrays: np.ndarray, cache_bytes: int = 0) -> StoredTensor:
    """A tensor of several blocks; nothing is remembered, so all is read from disk."""
    tensor = StoredTensor.like(ActivationStore(cache_bytes), arrays[0])
    for array in arrays:
        tensor.append(array)
    return tensor


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(0, 16),
    st.integers(0, 16),
    st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.bool_]),
)
@settings(deadline=None)
def test_any_samples_of_any_blocks_come_back(
    sizes: list[int], start: int, stop: int, dtype: type
) -> None:
    blocks: list[np.ndarray] = [
        (4 * normal(size, 3, 2, seed=k)).astype(dtype) for k, size in enumerate(sizes)
    ]
    tensor, joined = stored(*blocks), np.concatenate(blocks)
    assert tensor.shape == joined.shape
    assert tensor.dtype == joined.dtype
    found, expected = tensor[start:stop], joined[start:stop]
    assert found.dtype == joined.dtype
    assert found.shape == expected.shape
    if dtype is np.float32:
        np.testing.assert_allclose(found, expected, rtol=HALF_STEP)
    else:
        np.testing.assert_array_equal(found, expected)


@given(st.lists(st.integers(-120, 120), min_size=1, max_size=5), st.integers(0, 100))
@settings(deadline=None)
def test_neither_large_nor_tiny_activations_are_harmed(scales: list[int], seed: int) -> None:
    """Far above 65,504, and so small that float16 knows denormals only, side by side."""
    array = np.ldexp(normal(len(scales), 50, seed=seed), np.array(scales)[:, None])
    assert array.dtype == np.float32
    found = stored(array)[0 : len(scales)]
    largest = np.abs(array).max(axis=1, keepdims=True)
    error = np.abs(found - array)
    assert (error <= np.maximum(HALF_STEP * np.abs(array), 2.0**-38 * largest)).all()


def test_a_small_channel_beside_a_large_one_keeps_its_digits() -> None:
    array = normal(4, 2, 30)
    array[:, 0] *= 1e6
    array[:, 1] *= 1e-2
    error = np.square(stored(array)[0:4] - array).mean(axis=(0, 2))
    assert (error < HALF_STEP**2 * np.square(array).mean(axis=(0, 2))).all()


def test_what_is_not_finite_stays_and_harms_nothing_else() -> None:
    array = np.float32(1e5) * normal(3, 40)
    array[0, :3] = np.nan, np.inf, -np.inf
    array[1] = np.inf
    array[2] = 0.0
    np.testing.assert_allclose(stored(array)[0:3], array, rtol=HALF_STEP)


def test_half_the_bytes_are_on_disk() -> None:
    tensor = stored(normal(10, 100))
    file = tensor.store._file
    assert file is not None
    assert os.fstat(file.fileno()).st_size == 10 * module.stored_bytes(tensor.shape) == 2_000


def test_memory_is_bounded_and_changes_no_value() -> None:
    array = normal(64, 1000)
    poor, rich = stored(array, cache_bytes=50_000), stored(array, cache_bytes=10**6)
    for _ in range(2):
        for start in (0, 10, 20, 30, 20, 63):
            a, b = poor[start : start + 10], rich[start : start + 10]
            assert a.tobytes() == b.tobytes()
            held = sum(block.nbytes for block in poor.store._cache.values())
            assert held == poor.store._cached <= 50_000
    assert rich[0:10] is rich[0:10]
    assert poor[0:64] is not poor[0:64], "larger than all memory there is"
    with pytest.raises(ValueError, match="read-only"):
        rich[0:10][0] = 0.0


def test_tensors_of_one_store_are_told_apart() -> None:
    store = ActivationStore()
    one, other = (StoredTensor.like(store, normal(2, 3)) for _ in range(2))
    one.append(normal(2, 3, seed=1))
    other.append(normal(2, 3, seed=2))
    assert one[0:2][0, 0] != other[0:2][0, 0]


def test_samples_of_another_shape_are_refused() -> None:
    tensor = stored(normal(2, 3))
    with pytest.raises(InputError, match="for some samples"):
        tensor.append(normal(2, 4))


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match=r"no room on disk.*No space left.*--memory") as error:
        stored(normal(2, 3))
    assert "\n" not in str(error.value)


def test_a_file_cut_short_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = stored(normal(2, 3))
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    with pytest.raises(InputError, match="cut short"):
        tensor[0:2]


def test_a_disk_that_does_not_answer_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "folder", lambda: "/nowhere at all")
    assert module.free_bytes() == 0


@pytest.mark.parametrize("way_out", ["return", "raise", "term", "kill"])
def test_nothing_is_left_whichever_way_the_process_ends(tmp_path: Path, way_out: str) -> None:
    program = f"""
        import os, signal, sys
        import numpy as np
        from autogo_onnx import scratch
        from autogo_onnx.activation_store import ActivationStore, StoredTensor
        scratch.folder = lambda: {str(tmp_path)!r}
        tensor = StoredTensor.like(ActivationStore(), np.zeros((4, 1000), np.float32))
        tensor.append(np.ones((4, 1000), np.float32))
        print(os.fstat(tensor.store._file.fileno()).st_size, flush=True)
        if {way_out!r} == "raise":
            raise SystemExit("on purpose")
        if {way_out!r} != "return":
            os.kill(os.getpid(), signal.SIG{way_out.upper()})
    """
    if way_out in ("return", "raise"):
        program = program.replace("signal.SIG" + way_out.upper(), "0")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=False
    )
    expected = {"return": 0, "raise": 1, "term": -signal.SIGTERM, "kill": -signal.SIGKILL}
    assert done.returncode == expected[way_out]
    assert done.stdout.strip() == b"8000"
    assert list(tmp_path.iterdir()) == []


def test_halves_are_those_of_numpy() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(half.to_float(every), every.astype(np.float32))
    array = np.ldexp(normal(50, 1000), np.arange(-25, 25)[:, None])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half.from_float(array), array.astype(np.float16))
