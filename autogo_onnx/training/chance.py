"""Random choices that depend on seeds alone."""

from __future__ import annotations

import numpy as np
import torch


def number(*seeds: int) -> int:
    """One of 2**63 numbers for some seeds of any size, at least 0.

    >>> number(0, 1) == number(0, 1) != number(1, 0)
    True
    """
    return int(np.random.default_rng(seeds).integers(2**63))


def generator(*seeds: int) -> torch.Generator:
    """Of random tensors, on the CPU."""
    return torch.Generator().manual_seed(number(*seeds))
