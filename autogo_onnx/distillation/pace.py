"""On how many threads a student learns fastest.

Convolutions of small pictures are soon done, and threads that wait for each other spin: two of them
are up to twice as fast as one on an idle machine, and ten times slower where another program uses
the second core. So it is measured, once a run, and kept with the other prices.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch

from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.parallel import cores
from autogo_onnx.training.workflow import threads

_STEPS = 3
_CLEARLY = 0.9


def fastest_threads(step: Callable[[], object], table: LatencyTable) -> int:
    """All cores of this process, or one where they are not clearly faster.

    Args:
        step: something to do, the same each time.
        table: of prices, where the answer may be known.
    """
    count = cores()
    if count == 1:
        return 1

    def measure() -> float:
        return _seconds(step, count) / _seconds(step, 1)

    return count if table.price(f"training/{count} threads", measure) < _CLEARLY else 1


def _seconds(step: Callable[[], object], count: int) -> float:
    """The fastest of some; the first, which sets things up, does not count."""
    with threads(count):
        step()
        found = []
        for _ in range(_STEPS):
            start = perf_counter()
            step()
            found.append(perf_counter() - start)
    torch.manual_seed(0)
    return min(found)
