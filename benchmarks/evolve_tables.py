"""What evolution reaches where the truth is known: `python -m benchmarks.evolve_tables --help`.

From a network of NAS-Bench-201 or NAS-Bench-Macro whose accuracy is the median of its space, or
among the best tenth, evolve with a given number of evaluations; then look up the true accuracy of
what the final front promises most. Every seed draws a base, the networks that have labels, and all
else; labelled networks count for nobody. Prints markdown tables in points of test accuracy, means
over the seeds with 95 % confidence intervals (Student's t):

- `gain`: of the front's best predicted network over the base;
- `mean of five`, `best of five`: gain of its five best predicted ones, and of the truly best of
  these, which is what training them all would tell;
- `regret`: how far that best predicted one lies below the best network within the limits;
- `found`: gain of the truly best among all that was evaluated, which a perfect value would choose.

The searches are explained in `evolve_searches`, the values in `evolve_values`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats

from autogo_onnx.evolution import Run
from autogo_onnx.predictor_training.labels import read
from autogo_onnx.segment_db import build as building
from autogo_onnx.segment_db.store import open_store
from benchmarks.evolve_searches import OPERATORS, SEGMENTS, TABLE, Case, evaluated, unbeaten
from benchmarks.evolve_spaces import MACRO, NASBENCH201, Space, space
from benchmarks.evolve_values import (
    CHANCE,
    FEW,
    MACS,
    PREDICTOR,
    TRUTH,
    Floats,
    Predictors,
    labelled,
    standing_in,
)

STARTS = {"median": (0.475, 0.525), "best decile": (0.9, 1.0)}
EVALUATIONS = {NASBENCH201: 100, MACRO: 30}
BEST = 5
ALL = (PREDICTOR, FEW, MACS, CHANCE, TRUTH)
SEARCHES = {SEGMENTS: ALL, OPERATORS: (PREDICTOR, FEW), TABLE: ALL}
FIGURES = ("gain", "mean_of_five", "best_of_five", "regret", "found")


@dataclass(frozen=True)
class Outcome:
    """One search; accuracies in the table's percent."""

    space: str
    start: str
    search: str
    value: str
    seed: int
    gain: float
    mean_of_five: float
    best_of_five: float
    regret: float
    found: float
    evaluations: float

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """Which search it is."""
        return self.space, self.start, self.search, self.value, self.seed


def case_of(where: Space, start: str, seed: int) -> Case:
    """A base drawn from those of a start that have no labels."""
    barred = frozenset(labelled(where.labels, seed))
    accuracies = where.labels.accuracies
    order = np.argsort(accuracies, kind="stable").tolist()
    low, high = STARTS[start]
    pool = [n for n in order[int(low * len(order)) : int(high * len(order))] if n not in barred]
    base = int(np.random.default_rng([seed, list(STARTS).index(start)]).choice(pool))
    return Case(where, base, barred, EVALUATIONS[where.labels.family], seed)


def outcome(case: Case, members: Floats, numbers: Sequence[int]) -> Mapping[str, float]:
    """The figures of a search that has evaluated some networks."""
    truth = case.space.labels.accuracies
    best = unbeaten(numbers, members, case.space)[:BEST]
    within = case.space.reachable(case.base).difference(case.barred)
    return {
        "gain": float(truth[best[0]] - truth[case.base]),
        "mean_of_five": float(truth[best].mean() - truth[case.base]),
        "best_of_five": float(truth[best].max() - truth[case.base]),
        "regret": float(truth[list(within)].max() - truth[best[0]]),
        "found": float(truth[list(numbers)].max() - truth[case.base]),
        "evaluations": len(numbers) - 1,
    }


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Means with half widths of their confidence intervals."""
    figures = " | ".join(name.replace("_", " ") for name in FIGURES)
    yield f"\n| space | start | search | value | {figures} | networks |"
    yield "|---" * (len(FIGURES) + 5) + "|"
    for group, some in _groups(outcomes, lambda one: one.key[:-1]):
        cells = [_interval([getattr(one, name) for one in some]) for name in FIGURES]
        count = np.mean([one.evaluations for one in some])
        yield f"| {' | '.join((*group, *cells))} | {count:.0f} |"


def differences(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Gain of every search with segments and a predictor over the others, seed by seed."""
    gains = {one.key: one.gain for one in outcomes}
    yield "\n| space | start | value | gain over | mean difference |"
    yield "|---|---|---|---|---|"
    rivals = ((SEGMENTS, MACS), (SEGMENTS, CHANCE), (OPERATORS, None), (TABLE, None))
    starts = dict.fromkeys((one.space, one.start) for one in outcomes)
    for (where, start), value, (search, rival) in product(starts, (PREDICTOR, FEW), rivals):
        pairs = [
            (gain, gains[where, start, search, rival or value, key[-1]])
            for key, gain in gains.items()
            if key[:-1] == (where, start, SEGMENTS, value)
            and (where, start, search, rival or value, key[-1]) in gains
        ]
        if pairs:
            other = f"{search}, {rival or value}"
            difference = _interval([one - another for one, another in pairs])
            yield f"| {where} | {start} | {value} | {other} | {difference} |"


def _interval(values: Sequence[float]) -> str:
    """Mean and half of the 95 % confidence interval, by Student's t."""
    if len(values) < 2:
        return f"{np.mean(values):.2f}"
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.2f} ± {stats.t.ppf(0.975, len(values) - 1) * error:.2f}"


def _groups(
    outcomes: Sequence[Outcome], key: Callable[[Outcome], tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], list[Outcome]]]:
    for group in dict.fromkeys(map(key, outcomes)):
        yield group, [one for one in outcomes if key(one) == group]


def outcomes_of(
    where: Space, seeds: Sequence[int], predictors: Predictors, run: Run, known: Results
) -> None:
    """Run all searches in a space that are not known yet."""
    name = where.labels.family
    for seed, start in product(seeds, STARTS):
        case = case_of(where, start, seed)
        for search, value in ((s, v) for s, values in SEARCHES.items() for v in values):
            if known.has((name, start, search, value, seed)):
                continue
            if value in (PREDICTOR, FEW):
                members = predictors.members(seed, few=value == FEW)
            else:
                members = standing_in(value, where, seed)
            figures = outcome(case, members, evaluated(case, search, members, run))
            known.add(Outcome(name, start, search, value, seed, **figures))


class Results:
    """Outcomes in a file, a line of JSON each, so that what is interrupted goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.outcomes = [Outcome(**json.loads(line)) for line in lines]

    def has(self, key: tuple[str, str, str, str, int]) -> bool:
        """Whether a search was run."""
        return any(one.key == key for one in self.outcomes)

    def add(self, one: Outcome) -> None:
        """Keep an outcome."""
        self.outcomes.append(one)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(one)) + "\n")


def run_in(name: str, cache: Path) -> Run:
    """How `evolve` runs in a space: cells with the shipped segments.

    Of those one child in 300 stays in NAS-Bench-Macro, whose blocks leave no choice of widths;
    there segments are mined from networks of the space, without labels.
    """
    if name == NASBENCH201:
        return Run()
    path = cache / f"segments-{name}.db"
    if not path.exists():
        building.build(path, building.chosen(name))
    return Run(store=open_store(path))


def main() -> None:
    """Read the options, run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", type=Path, required=True, help="folder of published tables")
    parser.add_argument("--cache", type=Path, required=True, help="folder for rows and outcomes")
    parser.add_argument("--spaces", default=f"{NASBENCH201},{MACRO}")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    known = Results(options.cache / "evolve-outcomes.jsonl")
    labels = read(options.tables)
    for name in options.spaces.split(","):
        where = space(options.tables, name)
        predictors = Predictors(where, labels, options.cache)
        run = run_in(name, options.cache)
        outcomes_of(where, range(options.seeds), predictors, run, known)
    for line in (*table(known.outcomes), *differences(known.outcomes)):
        print(line)


if __name__ == "__main__":
    main()
