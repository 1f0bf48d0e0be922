"""How well devices are predicted: `python -m benchmarks.latency_heads --tables DIR [--seeds 5]`.

Prints a markdown table, a line per device: Spearman and median relative error on held-out networks
(a fifth of each family, none of equal amounts on both sides), means over seeds and families.

- additive: the prices that are shipped, fitted to all families of the device;
- + trees: boosted trees on what the prices leave, the logarithm of measured over predicted, seeing
  shares of the predicted latency only (so that size does not matter);
- operators, MACs: latency as a constant plus a price per operator, per multiply-accumulate;
- across: fitted to one family, judged by each other one. Tables of different campaigns differ in
  level, so the error is what remains after the median ratio is taken out;
- neighbours: Spearman among NAS-Bench-201 cells of one parent, one operation changed, the parents
  held out with all their neighbours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from autogo_onnx.devices import Amounts
from autogo_onnx.predictor_training.latency import (
    Measured,
    fit,
    measured_on,
    predicted,
    split,
)
from autogo_onnx.predictor_training.latency_tables import SOURCES, Floats, Measurements, read
from autogo_onnx.segment_db.families import nasbench201

Predict = Callable[[Amounts], Floats]
Learn = Callable[[Sequence[Measured]], Predict]

NETWORKS, PARENTS, FEWEST_NEIGHBOURS = 1000, 40, 6
OPERATORS, MACS = 0, 1


def additive(parts: Sequence[Measured]) -> Predict:
    """The prices that are shipped."""
    prices = fit(parts)
    return lambda amounts: predicted(amounts, prices)


def with_trees(parts: Sequence[Measured]) -> Predict:
    """The same, and trees for the ratio of the truth to it."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    prices = fit(parts)

    def shares(amounts: Amounts) -> Floats:
        costs = amounts * prices.of_amounts
        whole = costs.sum(axis=(1, 2))[:, None]
        return np.hstack([costs.sum(axis=1) / whole, costs.sum(axis=2) / whole])

    amounts = np.concatenate([one.amounts for one in parts])
    times = np.concatenate([one.milliseconds for one in parts])
    with threadpool_limits(1):
        trees = HistGradientBoostingRegressor(
            max_iter=100, max_leaf_nodes=8, min_samples_leaf=10, early_stopping=False
        ).fit(shares(amounts), np.log(times / predicted(amounts, prices)))
    return lambda amounts: predicted(amounts, prices) * np.exp(trees.predict(shares(amounts)))


def baseline(column: int) -> Learn:
    """A constant and a price per unit of one amount, whatever the operator."""

    def learn(parts: Sequence[Measured]) -> Predict:
        counts = np.concatenate([one.amounts[:, :, column].sum(axis=1) for one in parts])
        times = np.concatenate([one.milliseconds for one in parts])
        rows = np.column_stack([counts / counts.mean(), np.ones(len(counts))]) / times[:, None]
        (slope, constant), _ = nnls(rows, np.ones(len(times)))
        return lambda a: constant + slope / counts.mean() * a[:, :, column].sum(axis=1)

    return learn


MODELS: dict[str, Learn] = {
    "additive": additive,
    "+ trees": with_trees,
    "operators": baseline(OPERATORS),
    "MACs": baseline(MACS),
}


def judged(measured: Measured, predict: Predict, *, level: bool = True) -> tuple[float, float]:
    """Spearman and median relative error; without `level` the median ratio is taken out."""
    guess = predict(measured.amounts)
    if not level:
        guess = guess * np.median(measured.milliseconds / guess)
    rank = spearman(guess, measured.milliseconds)
    return rank, float(np.median(np.abs(guess / measured.milliseconds - 1)))


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation; 0 where one side is constant, as a coin would be."""
    from scipy.stats import spearmanr

    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def in_family(parts: Sequence[Measured], learn: Learn, seed: int) -> tuple[float, float]:
    """Means over the families of figures on held-out networks, learnt from all of them."""
    halves = [split(one, seed) for one in parts]
    predict = learn([train for train, _ in halves])
    rank, error = np.mean([judged(test, predict) for _, test in halves], axis=0)
    return float(rank), float(error)


def across(parts: Sequence[Measured], learn: Learn) -> tuple[float, float]:
    """Means over ordered pairs of different families; not numbers where there is one only."""
    families = [one.family.partition("@")[0] for one in parts]
    found = [
        judged(other, learn([one]), level=False)
        for one, family in zip(parts, families, strict=True)
        for other, other_family in zip(parts, families, strict=True)
        if family != other_family
    ]
    rank, error = np.mean(found, axis=0) if found else (np.nan, np.nan)
    return float(rank), float(error)


def edits(code: str) -> Iterator[str]:
    """The cells with another operation but `none` on one edge."""
    operations = nasbench201.parse(code).operations
    for edge, old in enumerate(operations):
        for new in nasbench201.OPERATIONS:
            if new not in (old, "none"):
                yield nasbench201.encode((*operations[:edge], new, *operations[edge + 1 :]))


def neighbours(
    device: str, cells: Measurements, others: Sequence[Measured], learn: Learn, seed: int
) -> float:
    """Mean over parents of Spearman among their neighbours; none of these is learnt from."""
    numbers = {code: number for number, code in enumerate(cells.codes)}
    order = np.random.default_rng(seed).permutation(len(cells.codes))[:PARENTS]
    groups = [
        [numbers[code] for code in edits(cells.codes[parent]) if code in numbers]
        for parent in order
    ]
    taken = {number for group in groups for number in group} | set(order.tolist())
    whole = Measured(cells.family, cells.amounts, cells.milliseconds[device])
    rest = [number for number in range(len(cells.codes)) if number not in taken]
    predict = learn([whole.take(rest), *others])
    ranks = [
        spearman(predict(whole.amounts[group]), whole.milliseconds[group])
        for group in groups
        if len(group) >= FEWEST_NEIGHBOURS
    ]
    return float(np.mean(ranks))


def line(device: str, found: Sequence[Measurements], cells: Measurements, seeds: int) -> str:
    """The figures of a device."""
    parts = measured_on(device, found)
    cell = [device, ", ".join(one.family for one in parts)]
    for learn in MODELS.values():
        figures = [in_family(parts, learn, seed) for seed in range(seeds)]
        rank, error = np.mean(figures, axis=0)
        cell.append(f"{rank:.3f} / {error:.1%}")
    for learn in MODELS.values():
        rank, error = across(parts, learn)
        cell.append("" if np.isnan(rank) else f"{rank:.3f} / {error:.1%}")
    others = [one for one in parts if one.family != cells.family]
    for learn in MODELS.values():
        ranks = [
            neighbours(device, cells, others, learn, seed)
            for seed in range(seeds if device in cells.milliseconds else 0)
        ]
        cell.append(f"{np.mean(ranks):.3f}" if ranks else "")
    return f"| {' | '.join(cell)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Rank correlations of predicted latencies.")
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", action="append", help="only this one, may be repeated")
    chosen = parser.parse_args()
    found = [read(chosen.tables, source, NETWORKS) for source in SOURCES]
    cells = read(chosen.tables, SOURCES[0], 10**6)
    devices = chosen.device or sorted({name for one in found for name in one.milliseconds})
    headings = [f"{how}: {name}" for how in ("held out", "across", "neighbours") for name in MODELS]
    print(f"| device | families | {' | '.join(headings)} |\n|{'---|' * (len(headings) + 2)}")
    for device in devices:
        print(line(device, found, cells, chosen.seeds), flush=True)


if __name__ == "__main__":
    main()
