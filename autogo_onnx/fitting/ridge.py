"""Ridge regression from second moments: the one solve that all fits share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RIDGE = 1e-4
# Only keeps a singular matrix invertible, where the ridge is in what it was made from.
TINY_RIDGE = 1e-9
_MOST_RIDGE = 0.1
_MOST_PRODUCTS = 3e10


def damped(gram: Array, ridge: float = RIDGE) -> Array:
    """The Gram matrix with a share of its columns' mean variance added to the diagonal."""
    result = np.array(gram, dtype=np.float64)
    # Columns that never vary get a unit diagonal: their weights come out as zero.
    result.flat[:: len(gram) + 1] += ridge * np.trace(gram) / len(gram) or 1.0
    return result


def solve(gram: Array, cross: Array, ridge: float = RIDGE) -> Array:
    """`cross @ inv(damped(gram))` by Cholesky: float64[O,P].

    Products are summed in float32. Where their rounding has made the matrix indefinite, as between
    columns of very different size, the ridge is raised until it is definite.

    Raises:
        numpy.linalg.LinAlgError: the moments are too noisy to be those of any samples.
    """
    from scipy.linalg import cho_factor, cho_solve

    while True:
        matrix = damped(gram, ridge).T
        try:
            factor = cho_factor(matrix, lower=False, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            if ridge >= _MOST_RIDGE:
                raise
            ridge = min(_MOST_RIDGE, 30.0 * ridge)
        else:
            return np.asarray(cho_solve(factor, cross.T, check_finite=False).T)


def affordable(sweeps: int, products: int) -> int:
    """`sweeps`, or as many of so many products each as take a few seconds; at least one.

    Counted rather than timed, so that a fit is the same everywhere.

    >>> affordable(6, products=10**10), affordable(6, products=10**12)
    (3, 1)
    """
    return min(sweeps, max(1, int(_MOST_PRODUCTS / max(1, products))))
