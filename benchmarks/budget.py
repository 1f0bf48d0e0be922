"""How well `optimize` keeps its `--budget`: wall-clock seconds of the whole command over it.

    python -m benchmarks.budget [CASE ...] [--budget SECONDS ...] [--models FILE ...]

Runs the command line as a user would, on the cases of `benchmarks/cases.py` and on models of one
picture input, which are given noise, and prints a table in Markdown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from autogo_onnx import calibration
from autogo_onnx.model import load
from benchmarks.cases import chosen

NOISE = 128


@click.command()
@click.argument("cases", nargs=-1)
@click.option("--budget", "budgets", multiple=True, type=float, default=(20.0, 60.0))
@click.option("--models", multiple=True, type=click.Path(path_type=Path, exists=True))
def main(cases: tuple[str, ...], budgets: tuple[float, ...], models: tuple[Path, ...]) -> None:
    """Print one line per model and budget."""
    print("| model | budget | wall clock | over budget | ratio | plans | load |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npz"
        for path in models:
            feeds: dict[str, Any] = dict(calibration.noise(load(path), NOISE, seed=0).feeds)
            np.savez(samples, **feeds)
            for budget in budgets:
                print(_line(path, samples, budget), flush=True)
        for case in chosen(cases, None) if cases or not models else ():
            np.save(samples.with_suffix(".npy"), case.calibration(0))
            for budget in budgets:
                print(_line(case.path(), samples.with_suffix(".npy"), budget), flush=True)


def _line(model: Path, samples: Path, budget: float) -> str:
    report = samples.with_name("report.json")
    command = [sys.executable, "-m", "autogo_onnx", "optimize", model, "--quiet"]
    places = ["-o", samples.with_name("out.onnx"), "--report", report]
    start = time.perf_counter()
    subprocess.run(
        [*map(str, [*command, *places]), "--calibration", str(samples), "--budget", f"{budget}s"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - start
    found = json.loads(report.read_text())
    ratio = found["latency_ratio"]
    cells = (
        model.stem,
        f"{budget:.0f} s",
        f"{seconds:.1f} s",
        f"{100 * (seconds / budget - 1):+.0f} %",
        "-" if ratio is None else f"{ratio:.3f}",
        f"{len(found['pareto'])}",
        f"{os.getloadavg()[0]:.0f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
