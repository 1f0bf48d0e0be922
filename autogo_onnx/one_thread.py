"""Linear algebra on one thread, whatever the machine has.

The matrices of a fit are small: a second BLAS thread gains little, and on a busy machine its
spinning made fits ten times slower. One thread also sums in one order, so that results repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it, NumPy and SciPy compute on one thread; their settings come back afterwards."""
    from threadpoolctl import threadpool_limits

    # SciPy brings a BLAS of its own, which can only be limited once it is loaded.
    import_module("scipy.linalg")
    with threadpool_limits(limits=1):
        yield
