"""What the label-free gate promised, and what was truly lost; what database and predictor add.

    python -m benchmarks.promise [CASE ...] [--trained FOLDER] [--seeds 3] [--budget 10m]
        [--plain] [--plans FILE.csv]

For every model with labels, `optimize` runs on samples without labels, once per seed (of the
samples' halves and of all that is drawn). Every plan that it realizes, good or bad, is judged on
the test images: the first table compares that loss with the mean that the gate expected, and with
its promise, the bound times the factor for samples that the network has seen (`fidelity.UNSEEN`).
10,000 images tell a loss to about 0.2 points.

The second table has the delivered plans, all in one measurement: how much of what they save comes
from mined segments and from narrower layers, and what is delivered without the database (its
segments are deleted, its vocabulary stays) and without the predictor (segments are taken by how
often they were seen, fitted site by site). All runs of a seed share one table of prices, so that
they differ by nothing else, unless the budget cuts one short: the first to run pays for the prices.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields
from pathlib import Path

import click
import numpy as np

from autogo_onnx.commands.values import duration
from benchmarks.ablations import DATABASE, PREDICTOR
from benchmarks.cases import chosen
from benchmarks.in_turns import ratios_of
from benchmarks.quality import Top1
from benchmarks.realized import Bench, Plan, Run

COMPLETE = "complete"
VARIANTS = {
    COMPLETE: frozenset[str](),
    "without database": frozenset({DATABASE}),
    "without predictor": frozenset({PREDICTOR}),
    "without both": frozenset({DATABASE, PREDICTOR}),
}
POINT = 1.0
SECONDS = 10.0
LOSSES = ("expected", "promised", "lost")
PROMISE_HEAD = (
    *("model", "plans", *LOSSES, "promise kept"),
    *("passing", *LOSSES, "most lost", "above a point"),
)


def promise_row(model: str, plans: Sequence[Plan]) -> str:
    """Promise and truth over the plans of a model, then over those that pass the gate."""
    passing = [plan for plan in plans if plan.passes]
    kept = np.mean([plan.lost <= plan.promised for plan in plans])
    cells = [model, str(len(plans)), *_means(plans), f"{100 * kept:.0f} %", str(len(passing))]
    if passing:
        above = sum(plan.lost > POINT for plan in passing)
        cells += [*_means(passing), f"{max(plan.lost for plan in passing):.2f}", str(above)]
    else:
        cells += ["-"] * (len(LOSSES) + 2)
    return _line(cells)


def _means(plans: Sequence[Plan]) -> list[str]:
    return [f"{np.mean([getattr(plan, name) for plan in plans]):.2f}" for name in LOSSES]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


DELIVERED_HEAD = (
    *("model", "variant", "latency ratio of each seed", "A/A bound", "promised", "lost"),
    *("replaced", "mined", "narrowed", "fits", "cut short"),
)


def delivered_rows(bench: Bench, runs: Sequence[Run]) -> Iterator[str]:
    """Means over the seeds of what was delivered, a row per variant."""
    ratios, noise = ratios_of(bench.source, [run.model for run in runs], bench.feed, SECONDS)
    for variant in dict.fromkeys(run.variant for run in runs):
        mine = [run for run in runs if run.variant == variant]
        yield _line(
            [
                bench.case.model,
                variant,
                " ".join(f"{ratios[run.model]:.3f}" for run in mine),
                f"{noise:.3f}",
                f"{_mean(mine, 'promised'):.2f}",
                f"{_mean(mine, 'lost'):.2f}",
                f"{_mean(mine, 'replaced'):.1f}",
                f"{100 * _mean(mine, 'mined'):.0f} %",
                f"{100 * _mean(mine, 'narrowed'):.0f} %",
                f"{np.mean([run.fits for run in mine]):.0f}",
                str(sum(run.is_cut_short for run in mine)),
            ]
        )


def _mean(runs: Sequence[Run], name: str) -> float:
    """Of the plans; a model that is only rewritten exactly loses and replaces nothing."""
    return float(np.mean([getattr(r.delivered, name) if r.delivered else 0.0 for r in runs]))


def write_csv(path: Path, plans: Sequence[Plan]) -> None:
    """Every plan in a line."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Plan)])
        writer.writerows(map(astuple, plans))


@click.command()
@click.argument("names", nargs=-1)
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion`.")
@click.option("--seeds", default=3, show_default=True, help="Runs per variant.")
@click.option("--budget", type=duration, default="10m", show_default=True, help="Of each run.")
@click.option("--plain", is_flag=True, help="Nothing is left out.")
@click.option("--plans", "path", type=click.Path(path_type=Path), help="Every plan, as CSV.")
def main(
    names: tuple[str, ...],
    trained: Path | None,
    seeds: int,
    budget: float,
    plain: bool,
    path: Path | None,
) -> None:
    """Print both tables, and the file of plans after every model."""
    variants = dict(list(VARIANTS.items())[: 1 if plain else None])
    promised: list[str] = []
    delivered: list[str] = []
    everything: list[Plan] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in (c for c in chosen(names, trained) if isinstance(c.quality, Top1)):
            bench = Bench(case, case.path(trained), Path(folder), budget)
            runs = [bench.run(v, gone, s) for s in range(seeds) for v, gone in variants.items()]
            everything += [plan for run in runs for plan in run.plans]
            if path is not None:
                write_csv(path, everything)
            whole = [plan for run in runs if run.variant == COMPLETE for plan in run.plans]
            promised.append(promise_row(case.model, whole))
            delivered += delivered_rows(bench, runs)
            click.echo(f"{case.model}: {len(whole)} plans", err=True)
    for head, rows in ((PROMISE_HEAD, promised), (DELIVERED_HEAD, delivered)):
        print(_line(head), "|" + " --- |" * len(head), *rows, "", sep="\n")


if __name__ == "__main__":
    main()
