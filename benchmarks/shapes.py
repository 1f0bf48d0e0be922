"""Fitting stored segments to sites of the zoo: how often, how fast, and beside AutoGO's own way.

    python -m benchmarks.shapes rate [--share 0.01] [--jobs 1] [--segment-db FILE]
    python -m benchmarks.shapes peers [--pairs 200]
    python -m benchmarks.shapes memory [--calls 5000]
    python -m benchmarks.shapes solvers [--problems 300]

Each prints tables in Markdown. `peers` needs `pip install pyomo` and the programs `cbc` and
`glpsol` (Debian: `coinor-cbc glpk-utils`), `solvers` needs `pip install highspy`. Times are of the
processor, child processes included, so that other work on the machine matters little.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import click

from autogo_onnx.shapes import Infeasible, level_model
from autogo_onnx.shapes.problem import cost
from benchmarks import shape_rates
from benchmarks.shape_memory import MAX_SECONDS, problems

_DATABASE = click.option("--segment-db", type=click.Path(path_type=Path))


@click.group()
def main() -> None:
    """Fit stored segments to sites of the zoo."""


@main.command()
@click.option("--share", type=float, default=1.0, help="Of the segments at every place.")
@click.option("--jobs", type=int, default=1)
@_DATABASE
def rate(share: float, jobs: int, segment_db: Path | None) -> None:
    """How often, how fast, and why not."""
    for line in shape_rates.lines(shape_rates.tally(segment_db, share, jobs)):
        click.echo(line)


@main.command()
@click.option("--pairs", type=int, default=200, help="Half of them need the solver.")
@_DATABASE
def peers(pairs: int, segment_db: Path | None) -> None:
    """Beside pyomo: the same problem, and the reference's formulation."""
    from benchmarks import shape_peers

    for line in shape_peers.lines(shape_peers.compare(segment_db, pairs)):
        click.echo(line)


@main.command()
@click.option("--calls", type=int, default=5000)
@_DATABASE
def memory(calls: int, segment_db: Path | None) -> None:
    """Resident memory over many solver calls in one process."""
    where = () if segment_db is None else ("--segment-db", str(segment_db))
    command = (sys.executable, "-m", "benchmarks.shape_memory", str(calls), *where)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    click.echo("| calls | MB |\n| --- | --- |")
    for line in done.stderr.splitlines():
        click.echo(f"| {' | '.join(line.split())} |")
    click.echo(f"\nstandard output: {len(done.stdout)} bytes")


@main.command()
@click.option("--problems", "number", type=int, default=300)
@_DATABASE
def solvers(number: int, segment_db: Path | None) -> None:
    """HiGHS beside CBC: objective values and answers."""
    objectives = answers = 0
    for problem in islice(problems(segment_db), number):
        one, other = (level_model.solve(problem, MAX_SECONDS, s) for s in ("CBC", "HIGHS"))
        if isinstance(one, Infeasible) or isinstance(other, Infeasible):
            same = isinstance(one, Infeasible) and isinstance(other, Infeasible)
            objectives, answers = objectives + same, answers + same
        else:
            objectives += cost(problem, one) == cost(problem, other)
            answers += one == other
    click.echo(f"{number} problems: {objectives} equal objective values, {answers} equal answers")


if __name__ == "__main__":
    main()
