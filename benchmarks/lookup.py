"""How long it takes to find all candidates for a site in databases of 1,000 and 100,000 segments.

    python -m benchmarks.lookup [--size 1000 --size 100000] [--folder FOLDER]

The databases are made from the shipped one: its segments (for the small one the most frequent),
and then variants of them with other kernels and activations, so that sizes, boundaries and rates
are distributed as mined. Sites are those of convolutions and pairs of common shapes, as `optimize`
asks for them, and without limits. *Cold* is the first look-up in a new process (the file is in the
system's cache), opening not included, over several processes; *warm* are all that follow, every
site several times. *Read* is what a site costs that looks at 400 graphs not seen before.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from tempfile import gettempdir

import click

from autogo_onnx.files import write_bytes
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.segment_db.facts import Demand
from autogo_onnx.segment_db.image import empty, file_bytes
from autogo_onnx.segment_db.store import open_store
from autogo_onnx.segment_db.writer import Entry, Writer
from autogo_onnx.serialize import canonical_hash

_KERNELS = (1, 3, 5, 7)
_ACTIVATIONS = ("Relu", "Sigmoid", "HardSwish", "Tanh", "Elu", "Mish", "Softplus", "Gelu")
_READ = 400
_PROCESSES = 9
_REPEATS = 9


@click.command()
@click.option("--size", "sizes", type=int, multiple=True, default=(1000, 100_000))
@click.option("--folder", type=click.Path(path_type=Path), default=gettempdir())
@click.option("--measure", "measured", type=click.Path(path_type=Path), hidden=True)
def main(sizes: tuple[int, ...], folder: Path, measured: Path | None) -> None:
    """Make the databases that are not there yet, and print a table."""
    if measured:
        print(json.dumps(measure(measured)))
        return
    for size in sizes:
        path = folder / f"lookup-{size}.db"
        if not path.exists():
            start = time.perf_counter()
            make(path, size)
            print(f"made {path} in {time.perf_counter() - start:.0f} s")
        print(f"{size} segments, {path.stat().st_size / 1e6:.1f} MB")
        for name, values in _measured(path).items():
            middle, worst = 1000 * statistics.median(values), 1000 * max(values)
            print(f"  {name:<48} median {middle:7.2f} ms, most {worst:7.2f} ms")


def _measured(path: Path) -> dict[str, list[float]]:
    """Seconds by what was measured, from several processes."""
    command = [sys.executable, "-m", "benchmarks.lookup", "--measure", str(path)]
    together: dict[str, list[float]] = {}
    for _ in range(_PROCESSES):
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        for name, seconds in json.loads(result.stdout).items():
            together.setdefault(name, []).extend(seconds)
    return together


def make(path: Path, size: int) -> None:
    """A database of so many structures."""
    with closing(empty()) as connection:
        writer = Writer(connection)
        writer.replace_vocabulary(open_store().vocabulary())
        source = writer.add_source("benchmark", size)
        for digest, graph, count in islice(_structures(), size):
            writer.add(Entry(digest, graph, {(source, "benchmark"): count}, {}))
        writer.finish()
        write_bytes(path, file_bytes(connection))


def _structures() -> Iterator[tuple[str, OpGraph, int]]:
    """Distinct structures with how often they are said to occur, without end."""
    store, rng = open_store(), random.Random(0)
    mined = [
        segment
        for n_inputs, n_outputs in product(range(1, 5), repeat=2)
        for segment in store.with_boundary(n_inputs, n_outputs)
    ]
    mined.sort(key=lambda s: (-s.count, s.id))
    seen = {segment.id for segment in mined}
    yield from ((segment.id[:32], segment.graph, segment.count) for segment in mined)
    while True:
        segment = rng.choice(mined)
        graph = _varied(segment.graph, rng)
        digest = canonical_hash(graph)
        if digest not in seen:
            seen.add(digest)
            yield digest, graph, rng.randint(1, segment.count)


def _varied(graph: OpGraph, rng: random.Random) -> OpGraph:
    """The graph with other kernels and activations; shapes stay."""
    return replace(graph, ops=tuple(_varied_op(op, rng) for op in graph.ops))


def _varied_op(op: Op, rng: random.Random) -> Op:
    if op.kind == "Relu":
        return replace(op, kind=rng.choice(_ACTIVATIONS))
    if op.kind == "Conv":
        kernel = rng.choice(_KERNELS)
        return op.with_attributes(kernel_shape=(kernel,) * 2, pads=(kernel // 2,) * 4)
    return op


def demands() -> list[tuple[str, Demand]]:
    """What `optimize` asks for at common sites, and the same without limits."""
    found = []
    for channels, size in [(16, 32), (32, 56), (64, 28), (128, 14), (256, 7), (512, 7)]:
        for stride, wider in [(1, 1), (2, 2), (1, 2)]:
            given = (1, channels, size, size)
            made = (1, channels * wider, size // stride, size // stride)
            one = 9 * channels * channels * wider * (size // stride) ** 2
            for name, macs in [("1x1", one / 9), ("3x3", one), ("3x3 pair", 2 * one)]:
                limited = Demand((given,), (made,), 0.9 * macs, 8, ("Add", "Conv", "Sum"))
                found.append((name, limited))
            found.append(("any", Demand((given,), (made,))))
            found.append(("any two", Demand((given, given), (made,))))
    return found


def measure(path: Path) -> dict[str, list[float]]:
    """Seconds in this process, which has not opened the database before."""
    start = time.perf_counter()
    store = open_store(path)
    opened, worked = time.perf_counter(), time.process_time()
    store.candidates(demands()[1][1])
    cold, worked = time.perf_counter() - opened, time.process_time() - worked
    seconds = {"open": [opened - start], "cold": [cold], "cold, processor time": [worked]}
    found: dict[str, list[int]] = {}
    times: dict[str, list[float]] = {}
    for name, demand in _REPEATS * demands():
        start = time.perf_counter()
        candidates = store.candidates(demand)
        times.setdefault(name, []).append(time.perf_counter() - start)
        found.setdefault(name, []).append(len(candidates))
    for name, numbers in found.items():
        seconds[f"warm, {name} ({min(numbers)} to {max(numbers)} found)"] = times[name]
    start = time.perf_counter()
    for _ in islice(store.with_boundary(1, 1), _READ):
        pass
    seconds[f"read {_READ} graphs"] = [time.perf_counter() - start]
    return seconds


if __name__ == "__main__":
    main()
