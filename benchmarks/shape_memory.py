"""Memory of many solver calls in one process; the process itself says nothing on standard output.

    python -m benchmarks.shape_memory CALLS [--segment-db FILE]

Writes lines `calls megabytes` to standard error, one per tenth of the calls.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from unittest.mock import patch

import click

from autogo_onnx.segment_db.store import open_store
from autogo_onnx.shapes import adapt, level_model
from autogo_onnx.shapes.problem import Problem
from benchmarks.shape_pairs import places, sample, segments

DIFFERENT = 200
MAX_SECONDS = 1.0


def problems(path: Path | None, seed: int = 0) -> Iterator[Problem]:
    """Problems of random pairs that direct solving left to the solver."""
    store = open_store(path)
    where = places(store)
    for pair in sample(where, segments(store, where), seed):
        with patch.object(level_model, "solve", wraps=level_model.solve) as solver:
            adapt(pair.segment, pair.place.inputs, pair.place.outputs)
        yield from (call.args[0] for call in solver.call_args_list)


def megabytes() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@click.command()
@click.argument("calls", type=int)
@click.option("--segment-db", type=click.Path(path_type=Path))
def main(calls: int, segment_db: Path | None) -> None:
    """Solve some problems again and again."""
    different = list(islice(problems(segment_db), DIFFERENT))
    for number, problem in enumerate(islice(cycle(different), calls), start=1):
        level_model.solve(problem, MAX_SECONDS)
        if number % (calls // 10) == 0:
            print(number, f"{megabytes():.1f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
