"""The main job on real trained networks: latency ratio and quality on data that nothing saw.

    python -m benchmarks.optimize_zoo [CASE ...] [--trained FOLDER] [--out FOLDER]
        [--arguments "--budget 5m"]

Runs `autogo-onnx optimize` as a user would, one model after the other, with 512 unlabelled samples
where there are as many, then measures both models on test data and prints a table in Markdown.
`FOLDER` of `--trained` holds what `benchmarks/train_fashion.py` wrote.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.cases import Case, chosen

HEAD = """| model | latency ratio | A/A bound | MACs | gate's bound | test data | plan | s |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


@dataclass(frozen=True)
class Optimized:
    """What one run of the command line left: the model's file, the report, wall-clock seconds."""

    model: Path
    report: dict[str, Any]
    seconds: float

    @property
    def costs(self) -> str:
        """Latency ratio, its A/A bound and the ratio of multiply-accumulates, for a table."""
        ratio, noise = self.report["latency_ratio"], self.report["latency_noise"]
        return f"{ratio:.3f} | {noise:.3f} | {self.macs_ratio:.3f}"

    @property
    def macs_ratio(self) -> float:
        """Multiply-accumulates over the original's."""
        return float(self.report["after"]["macs"] / max(1, self.report["before"]["macs"]))

    @property
    def bound(self) -> str:
        """The gate's bound on the loss."""
        fidelity = self.report["fidelity"] or {}
        if fidelity.get("drop_bound") is not None:
            return f"{100 * fidelity['drop_bound']:.2f} points"
        decibels = fidelity.get("psnr_bound_db")
        return "-" if decibels is None else f"{decibels:.1f} dB"


@contextmanager
def kept_in(folder: Path | None) -> Iterator[Path]:
    """A folder for models and reports: the user's, or one that is gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        kept = folder or Path(scratch)
        kept.mkdir(parents=True, exist_ok=True)
        yield kept


def samples_of(case: Case, folder: Path, seed: int = 0) -> Path:
    """The file with some samples of a model; it is made once."""
    path = folder / f"{case.model}.{seed}.npy"
    if not path.exists():
        np.save(path, case.calibration(seed))
    return path


def optimized(source: Path, samples: Path, out: Path, arguments: Sequence[str]) -> Optimized:
    """Run `autogo-onnx optimize SOURCE -o OUT` in a process of its own.

    Args:
        source, out: models; the report is put beside the second.
        samples: to calibrate with.
        arguments: any more.
    """
    report = out.with_suffix(".json")
    command = ["optimize", source, "-o", out, "--calibration", samples, "--report", report]
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "autogo_onnx", *map(str, command), "--quiet", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.monotonic() - start
    return Optimized(out, json.loads(report.read_text()), seconds)


def row(case: Case, source: Path, folder: Path, arguments: Sequence[str]) -> str:
    """Optimize one model as a user would; the row of the table."""
    samples, out = samples_of(case, folder), folder / f"{case.model}.onnx"
    found = optimized(source, samples, out, arguments)
    quality = case.quality.against(source)(out)
    return (
        f"| {case.model} | {found.costs} | {found.bound} | {quality.text} "
        f"| {len(found.report['plan'])} | {found.seconds:.0f} |"
    )


@click.command()
@click.argument("names", nargs=-1)
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion`.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep models and reports here.")
@click.option("--arguments", default="", help="Of `optimize`, in one string.")
def main(names: tuple[str, ...], trained: Path | None, out: Path | None, arguments: str) -> None:
    """Print one row per model as soon as it is measured."""
    print(HEAD, flush=True)
    with kept_in(out) as folder:
        for case in chosen(names, trained):
            print(row(case, case.path(trained), folder, shlex.split(arguments)), flush=True)


if __name__ == "__main__":
    main()
