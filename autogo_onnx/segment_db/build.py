"""Make the shipped database: generate the NAS families, mine them, write the file.

Every distinct network of both families is mined, which takes about a minute on one core; no table
of the benchmarks is needed. `autogo-onnx db build PATH` makes the same bytes as the shipped file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from autogo_onnx.files import write_bytes
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.progress import Progress
from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.image import image
from autogo_onnx.segment_db.mining import mine

VOCABULARY_SIZE = 2000
# Rarer ones are accidents of how a few cells are wired; they would make the file seven times as
# large.
LEAST_COUNT = 100


def build(path: Path, *, progress: Progress | None = None, every: int = 1) -> None:
    """Write the database mined from every `every`-th network of the families.

    Raises:
        InputError: the file cannot be written.
    """
    mined = mine(networks(every), VOCABULARY_SIZE, progress=progress)
    least = max(1, LEAST_COUNT // every)
    kept = tuple(s for s in mined.segments if s.count >= least)
    write_bytes(path, image(replace(mined, segments=kept)))


def networks(every: int = 1) -> Iterator[tuple[str, OpGraph]]:
    """The distinct networks of all families, with the name of their family."""
    for arch in islice(nasbench201.distinct(), 0, None, every):
        yield nasbench201.NAME, nasbench201.build(arch).folded()
    for arch in islice(nasbench_macro.distinct(), 0, None, every):
        yield nasbench_macro.NAME, nasbench_macro.build(arch).folded()
