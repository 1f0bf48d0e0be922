"""A device with made-up prices."""

from __future__ import annotations

from typing import Any

import numpy as np

from autogo_onnx.devices import AMOUNTS, Device, HeldOut
from autogo_onnx.features.operators import CLASSES


def device(**changes: Any) -> Device:
    """A nanosecond per MAC, half a millisecond per square convolution, a quarter per network."""
    prices = np.zeros((len(CLASSES), len(AMOUNTS)))
    prices[:, 1] = 1e-6
    prices[CLASSES.index("conv3x3"), 0] = 0.5
    figures = {"nasbench201": HeldOut(281, 0.951, 0.047)}
    given = {
        "name": "toy",
        "prices": prices,
        "overhead_ms": 0.25,
        "range_ms": (0.5, 8.0),
        "classes": frozenset({"conv3x3"}),
        "held_out": figures,
    }
    return Device(**{**given, "tables": ("a/b.csv.gz",), **changes})
