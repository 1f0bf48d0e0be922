"""How two outputs differ: in kind, in shape, in where they are finite, in value."""

from __future__ import annotations

from typing import Any

import numpy as np

# Below this nothing can be told from rounding, whatever the scale of the output.
_TINY = float(np.finfo(np.float32).tiny)


def mismatch(
    expected: object, got: object, tolerance: float, *, nothing: float = 0.0
) -> str | None:
    """In words, how two outputs differ; None when they do not.

    Args:
        expected, got: arrays, or lists of them (sequences).
        tolerance: of the largest difference, as a share of the largest expected value.
        nothing: an absolute difference that is none.
    """
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = zip(expected, got, strict=True)
        found = (mismatch(e, g, tolerance, nothing=nothing) for e, g in pairs)
        return next((text for text in found if text), None)
    if not isinstance(expected, np.ndarray) or not isinstance(got, np.ndarray):
        return None if type(expected) is type(got) and expected == got else "differs"
    if (expected.dtype, expected.shape) != (got.dtype, got.shape):
        return f"is {got.dtype}{list(got.shape)} instead of {expected.dtype}{list(expected.shape)}"
    if not is_numeric(expected):
        return None if np.array_equal(expected, got) else "differs"
    error = relative(expected, got, nothing=nothing)
    if error == 0 and expected.dtype.kind != "f":  # float64 does not tell all 64-bit integers apart
        return None if tolerance or np.array_equal(expected, got) else "differs in the last digits"
    if error <= tolerance:
        return None
    if error == np.inf:
        return "is not finite in the same places"
    return f"differs by {error:.2g} of its largest value"


def relative(
    expected: np.ndarray[Any, Any], got: np.ndarray[Any, Any], *, nothing: float = 0.0
) -> float:
    """Largest difference over largest finite value; infinite where NaN or infinity differ.

    A difference up to `nothing` is none.

    >>> relative(np.array([1.0, -4.0]), np.array([1.0, -4.1])) <= 0.025001
    True
    """
    a, b = expected.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if finite.all():
        finite = np.ones((), bool)
        if not np.isfinite(b).all():
            return float(np.inf)
    elif not np.isfinite(b[finite]).all() or not np.array_equal(
        a[~finite], b[~finite], equal_nan=True
    ):
        return float(np.inf)
    if not a.size or not finite.any():
        return 0.0
    known = a[finite]
    difference = np.abs(known - b[finite]).max()
    return 0.0 if difference <= nothing else float(difference / max(np.abs(known).max(), _TINY))


def is_numeric(value: object) -> bool:
    """Whether differences can be taken."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def has_finite(values: list[Any]) -> bool:
    """Whether there is something to compare: not all empty, not all NaN or infinite."""
    return any(
        not is_numeric(v) or (v.size and (v.dtype.kind in "biu" or np.isfinite(v).any()))
        for v in values
    )
