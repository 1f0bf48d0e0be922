"""Prices of single replacements: do they repeat, and do those of a plan add up to what it saves?

    python -m benchmarks.prices [CASE ...] [--trained FOLDER] [--plans 8]

Prices all replacements of every model twice, then times whole models in which about every second
site is replaced, drawn at random, with random weights: half of them by what saves most there.
*Strays* is the root mean square difference of the two prices of a replacement, *adds up* the sum of
a plan's prices over what it saves (mean +- standard deviation over the plans).
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from autogo_onnx import latency
from autogo_onnx.candidates import Candidate
from autogo_onnx.ground import Ground, survey
from autogo_onnx.improvement import propose
from autogo_onnx.job import begin
from autogo_onnx.options import Options
from autogo_onnx.pricing import all_replaced, signature
from autogo_onnx.progress import Silent
from autogo_onnx.savings import LEAST_SAVING, latency_prices
from benchmarks.cases import Case, chosen
from benchmarks.optimize_zoo import kept_in, samples_of

HEAD = ("model", "kinds", "s", "mean price", "strays", "adds up")
SPARED = 0.4
"""Of the sites, a plan leaves so many alone."""
SECONDS = 2.0
Floats = NDArray[np.float64]


def ground_of(case: Case, trained: Path | None, folder: Path) -> Ground:
    """A model, and all the time there is."""
    options = Options(calibration=samples_of(case, folder), budget_s=1e6)
    job = begin(case.path(trained), options, Silent())
    assert job.samples is not None, "they were given"
    return survey(job, job.samples)


def priced(ground: Ground, candidates: list[Candidate]) -> tuple[Floats, float]:
    """The price of each candidate, float64[N], none known before, and the seconds that took."""
    table = replace(ground.job.table, entries={})
    start = time.monotonic()
    prices = latency_prices(replace(ground, job=replace(ground.job, table=table)), candidates)
    return np.array(prices), time.monotonic() - start


def drawn(
    candidates: list[Candidate], prices: Floats, rng: np.random.Generator, *, most: bool
) -> list[int]:
    """Numbers of candidates for a plan: at its sites one that saves something, or saves most."""
    taken: set[int] = set()
    plan = []
    sites = list(dict.fromkeys(c.site for c in candidates))
    for turn in rng.permutation(len(sites)):
        site = sites[turn]
        here = [i for i, c in enumerate(candidates) if c.site == site and prices[i] > LEAST_SAVING]
        if not here or not taken.isdisjoint(site.cut.ops) or rng.random() < SPARED:
            continue
        taken.update(site.cut.ops)
        plan.append(max(here, key=lambda i: prices[i]) if most else int(rng.choice(here)))
    return plan


def added_up(ground: Ground, candidates: list[Candidate], prices: Floats, plans: int) -> Floats:
    """For some plans the sum of their prices over what they save, float64[plans]."""
    rng = np.random.default_rng(0)
    found = []
    for turn in range(plans):
        plan = drawn(candidates, prices, rng, most=turn % 2 == 0)
        steps = [ground.step(candidates[i].site, candidates[i].graph) for i in plan]
        model, _ = all_replaced(ground.model, steps, turn)
        paired = latency.compare(ground.model, model, ground.feed, seconds=SECONDS)
        found.append(prices[plan].sum() / (1.0 - paired.ratio_p10))
    return np.array(found)


def row(case: Case, trained: Path | None, folder: Path, plans: int) -> str:
    """The row of one model."""
    ground = ground_of(case, trained, folder)
    candidates = propose(ground)
    prices, seconds = priced(ground, candidates)
    again, _ = priced(ground, candidates)
    strays = np.sqrt(np.mean(np.square(again - prices)))
    sums = added_up(ground, candidates, prices, plans)
    kinds = {signature(c.site.graph, c.graph) for c in candidates}
    return (
        f"| {case.model} | {len(kinds)} | {seconds:.0f} | {np.abs(prices).mean():.4f} "
        f"| {strays:.4f} | {sums.mean():.2f} +- {sums.std():.2f} |"
    )


@click.command()
@click.argument("names", nargs=-1)
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion`.")
@click.option("--plans", default=8, show_default=True)
def main(names: tuple[str, ...], trained: Path | None, plans: int) -> None:
    """Print one row per model as soon as it is measured."""
    print(f"| {' | '.join(HEAD)} |", "|" + " --- |" * len(HEAD), sep="\n", flush=True)
    with kept_in(None) as folder:
        for case in chosen(names, trained):
            print(row(case, trained, folder, plans), flush=True)


if __name__ == "__main__":
    main()
