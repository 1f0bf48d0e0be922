from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from net_cases import pictures, residual_net

from autogo_onnx import streams
from autogo_onnx.streams import Difference, Part, blocks, channel_variances, whole
from autogo_onnx.submodel import Run, run_batched


@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 40))
def test_blocks_are_all_samples_in_order_and_not_too_large(
    count: int, inner: int, largest: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "BLOCK_ELEMENTS", largest)
        found = list(blocks([np.zeros((count, 1)), np.zeros((count, inner))]))
    assert [s.start for s in found] == [0, *(s.stop for s in found[:-1])]
    assert found[-1].stop == count
    assert all(s.stop - s.start <= max(1, largest // inner) for s in found)


def test_views_of_streams_give_what_arrays_would() -> None:
    a, b = pictures(0, 9, 2, 3, 3), pictures(1, 9, 2, 3, 3)
    difference, first = Difference(a, b), Part(a, 0, 4)
    assert (difference.shape, difference.dtype) == (a.shape, a.dtype)
    assert (first.shape, first.dtype) == ((4, 2, 3, 3), a.dtype)
    np.testing.assert_array_equal(difference[2:5], (a - b)[2:5])
    np.testing.assert_array_equal(first[2:9], a[2:4])
    np.testing.assert_array_equal(whole(first), a[:4])


@given(st.integers(1, 20), st.integers(1, 9), st.floats(-1e6, 1e6))
def test_variances_are_those_of_all_samples_whatever_the_block(
    count: int, samples: int, mean: float
) -> None:
    array = np.random.default_rng(count).standard_normal((count, 3, 2, 2)) + mean
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "BLOCK_ELEMENTS", samples * 12)
        found = channel_variances(array)
    np.testing.assert_allclose(found, array.var(axis=(0, 2, 3)), rtol=1e-6)


def test_a_run_computes_what_is_read_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = residual_net(blocks=1)
    x = pictures(0, 11, 3, 12, 12)
    expected = run_batched(model, {"x": x}, batch=11)
    made = Run(model, {"x": x}, batch=2)
    found = made.streams()
    ran: list[int] = []
    batches = Run.batches

    def counted(self: Run, start: int, stop: int) -> object:
        ran.append(stop - start)
        return batches(self, start, stop)

    monkeypatch.setattr(Run, "batches", counted)
    for name, stream in found.items():
        assert stream.shape == expected[name].shape
        assert stream.dtype == expected[name].dtype
        np.testing.assert_allclose(stream[3:8], expected[name][3:8], rtol=1e-5, atol=1e-6)
        assert stream[3:8] is stream[3:8]
        np.testing.assert_allclose(whole(stream), expected[name], rtol=1e-5, atol=1e-6)
    assert ran == [5, 11] * len(found)
