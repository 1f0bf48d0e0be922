"""Mining the five families of the AutoGO paper: time, memory, and how many segments there are.

    python -m benchmarks.segment_db [--jobs 2] [--scheduler tcp://HOST:PORT] [--share 1.0]

The networks are as many as in the paper (NeurIPS 2023, section 3): 5,000 of NAS-Bench-101, 4,600 of
HiAML, 6,900 Two-Path, 580 Inception; of NAS-Bench-201 4,300 cells, as some of them turn out to be
equal networks, which count once. (The paper's 4,096 cells without `none` are 3,349 networks.)

Memory is the sum of what this process and its children have in memory at once, pages they share
counted in each. Computing time is that of all of them, also where others use the machine.

The paper keeps 428 segments after it has put isomorphic ones together, mined in less than 20
minutes with 10 GB; some of them are not connected, and 60 % of its vocabulary are single nodes in
several spellings. Ours are all connected. A run of operators counts when it is a piece of the
vocabulary or has one input and one output, wherever it occurs, so rare ones are many; the database
keeps those that occur often.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from autogo_onnx.console import progress_on
from autogo_onnx.segment_db import build as building
from autogo_onnx.segment_db.pipeline import Settings
from autogo_onnx.segment_db.segment import Segment
from autogo_onnx.segment_db.workers import local, on_cluster

PAPER = {
    "nasbench101": 5_000,
    "nasbench201": 4_300,
    "hiaml": 4_600,
    "twopath": 6_900,
    "inception": 580,
}
PAPER_SEGMENTS = 428
LEAST_COUNTS = (1, 10, 100, 1000)
SIZES = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16))


@click.command()
@click.option("--jobs", default=2, show_default=True)
@click.option("--scheduler")
@click.option("--share", default=1.0, show_default=True, help="Of the networks, for a short run.")
def main(jobs: int, scheduler: str | None, share: float) -> None:
    """Mine, then print what it took and what was found."""
    families = tuple((name, max(1, round(count * share))) for name, count in PAPER.items())
    settings = Settings(families, least_share=0)
    cluster = on_cluster(scheduler, building.code_version) if scheduler else None
    watch = _Watch()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, cluster or local(jobs) as workers:
        path = Path(folder, "all.db")
        with progress_on(sys.stderr, quiet=False) as progress, watch:
            mined = building.build(path, settings, workers=workers, progress=progress)
        seconds, size = time.monotonic() - start, path.stat().st_size
    print(f"read {sum(count for _, count in families):,} networks, {mined.networks:,} different")
    took = f"{seconds:.0f} s with {jobs} jobs, {watch.cpu_s:.0f} s of computing"
    print(f"{took}, {watch.peak / 2**30:.2f} GB, file {size:,} bytes")
    tokens, pieces = mined.vocabulary.alphabet, mined.vocabulary.pieces
    print(f"vocabulary: {len(tokens)} tokens, {len(pieces)} pieces")
    for least in LEAST_COUNTS:
        _table([s for s in mined.segments if s.count >= least], least)


def _table(segments: Sequence[Segment], least: int) -> None:
    """Unique segments by size and by the families they were seen in."""
    counts: Counter[tuple[str, int]] = Counter()
    for segment in segments:
        operators = len(segment.graph.ops)
        group = next(n for n, (low, high) in enumerate(SIZES) if low <= operators <= high)
        for family in ("all", *segment.families):
            counts[family, group] += 1
    print(
        f"\nunique connected segments seen at least {least} times (the paper: {PAPER_SEGMENTS})\n"
    )
    names = [f"{low}" if low == high else f"{low}-{high}" for low, high in SIZES]
    print("| family |", " | ".join(f"{name} operators" for name in names), "| all |")
    print("|" + " --- |" * (len(SIZES) + 2))
    for family in (*PAPER, "all"):
        row = [counts[family, group] for group in range(len(SIZES))]
        print(f"| {family} |", " | ".join(f"{n:,}" for n in (*row, sum(row))), "|")


class _Watch:
    """What this process and those below it take; looked at often, as processes come and go.

    Attributes:
        peak: bytes, the most they have had in memory at once.
        cpu_s: seconds of computing time.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._ticks: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def cpu_s(self) -> float:
        return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            states = _processes()
            ours = [process for process in states if _is_ours(process, states)]
            self._ticks.update((process, states[process].ticks) for process in ours)
            self.peak = max(self.peak, sum(states[process].resident for process in ours))


class _State(NamedTuple):
    parent: int
    ticks: int
    resident: int


def _processes() -> dict[int, _State]:
    """All there are, after Linux's /proc."""
    states = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        ticks, pages = int(fields[11]) + int(fields[12]), int(fields[21])
        states[int(folder.name)] = _State(int(fields[1]), ticks, pages * os.sysconf("SC_PAGE_SIZE"))
    return states


def _is_ours(process: int, states: dict[int, _State]) -> bool:
    while process in states and process != os.getpid():
        process = states[process].parent
    return process == os.getpid()


if __name__ == "__main__":
    main()
