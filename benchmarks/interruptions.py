"""Whether `optimize --work-dir` gives the same bytes however often it is killed.

    python -m benchmarks.interruptions CASE [--kills 4] [--budget 30m] [--seed 0]

Runs a case to its end with the latency table of a run before, then again with SIGKILL at random
times, and compares the model and every model of the Pareto set.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from benchmarks.cases import chosen

IMPORTS_S = 1.0
"""A run that is killed earlier has done nothing."""


@click.command()
@click.argument("case")
@click.option("--kills", default=4)
@click.option("--budget", default="30m")
@click.option("--seed", default=0)
def main(case: str, kills: int, budget: str, seed: int) -> None:
    """Print when runs were killed, how long the others took, and whether all bytes are equal."""
    (model,) = chosen([case], None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "samples.npy", model.calibration(0))
        fixed = [str(model.path()), "--calibration", str(folder / "samples.npy")]
        fixed += ["--latency-table", str(folder / "prices.json"), "--budget", budget, "--quiet"]
        for run in ("measured", "again"):
            seconds = _wait(_begun(folder, run, fixed))
            print(f"{run}: {seconds:.1f} s", flush=True)
        _interrupted(folder, fixed, kills, seconds, random.Random(seed))
        same = _digests(folder, "again") == _digests(folder, "resumed")
        count = len(_digests(folder, "again"))
        print(f"{count} models: {'the same bytes' if same else 'DIFFERENT BYTES'}")
        sys.exit(not same)


def _interrupted(
    folder: Path, fixed: list[str], kills: int, seconds: float, rng: random.Random
) -> None:
    work = folder / "work"
    for _ in range(kills):
        process = _begun(folder, "resumed", [*fixed, "--work-dir", str(work)])
        wait = IMPORTS_S + rng.random() * seconds
        try:
            process.wait(wait)
            return
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        found = len(list(work.iterdir())) if work.exists() else 0
        print(f"killed after {wait:.1f} s, {found} findings kept", flush=True)
    seconds = _wait(_begun(folder, "resumed", [*fixed, "--work-dir", str(work)]))
    print(f"resumed: {seconds:.1f} s", flush=True)


def _begun(folder: Path, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    places = ["-o", str(folder / f"{name}.onnx"), "--pareto", str(folder / name)]
    return subprocess.Popen(
        [sys.executable, "-m", "autogo_onnx", "optimize", *arguments, *places],
        stdout=subprocess.DEVNULL,
    )


def _wait(process: subprocess.Popen[bytes]) -> float:
    start = time.perf_counter()
    if process.wait() != 0:
        raise click.ClickException("the command failed")
    return time.perf_counter() - start


def _digests(folder: Path, name: str) -> dict[str, str]:
    """Of the model and of every file of the Pareto set."""
    files = {"model": folder / f"{name}.onnx", **{p.name: p for p in (folder / name).iterdir()}}
    return {key: hashlib.sha256(file.read_bytes()).hexdigest() for key, file in files.items()}


if __name__ == "__main__":
    main()
