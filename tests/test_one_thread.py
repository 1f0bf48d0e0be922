from __future__ import annotations

from importlib import import_module

from threadpoolctl import threadpool_info

from autogo_onnx.one_thread import one_blas_thread


def threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_every_blas_has_one_thread_within_and_its_own_number_after() -> None:
    import_module("scipy.linalg")
    before = threads()
    with one_blas_thread():
        assert set(threads()) == {1}
    assert threads() == before
