"""Metrics for `--evaluate`: whether each of half of the test samples is told right.

The other half tells what came of it.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks import inputs
from benchmarks.quality import halves, hits

_cifar10, _ = halves(cache(partial(inputs.cifar10, "test")))
_fashion_mnist, _ = halves(cache(partial(inputs.fashion_mnist, "t10k")))


def cifar10(model: Path) -> np.ndarray:
    """bool[5000]."""
    return hits(model, _cifar10)


def fashion_mnist(model: Path) -> np.ndarray:
    """bool[5000]."""
    return hits(model, _fashion_mnist)
