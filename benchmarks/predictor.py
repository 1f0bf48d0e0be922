"""How well the predictor ranks: `python -m benchmarks.predictor --tables DIR [--jobs 2]`.

Prints markdown tables; means over seeds. Networks are split, not encodings: a fifth is held out,
the predictor is trained on the others, or on 1,024 or 300 of them.

1. Held-out networks: Spearman of the predicted with the true accuracy, of the trees and of two
   baselines (see `predictor_models`), and the standard deviation over seeds of the first.
2. Neighbours: Spearman within the held-out neighbours of a held-out network that has at least five
   (another choice at one place), mean and median over networks; regret is how far the predicted
   best neighbour lies below the best, in the unit of the table.
3. Differences: a model of changes instead of values, trained on the same labels.
4. Uncertainty: share of held-out truths within one and two deviations (.683 and .954 if normal),
   and Spearman of the size of the error with the deviation.
5. Across families: see `predictor_transfer`. TransNAS-Bench-101's tasks are averaged there.

Values that a surrogate predicted (`nasbench301`) are judged like the measured ones, apart from 5.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from autogo_onnx.predictor_training.accuracy import families
from autogo_onnx.predictor_training.labels import FAMILIES, MEASURED, Labels, read
from autogo_onnx.predictor_training.network_rows import Site, middle_sites, rows_of
from benchmarks import predictor_held_out as held_out
from benchmarks import predictor_transfer as transfer
from benchmarks.predictor_held_out import Result
from benchmarks.predictor_models import COUNTS, DIFFERENCES, MACS, TREES
from benchmarks.predictor_transfer import Transfer

T = TypeVar("T")
K = TypeVar("K")

MODELS = (TREES, COUNTS, MACS)


def fill_cache(tables: Path, family: str, seeds: int, cache: Path) -> None:
    """Make and keep all rows of a family."""
    labels = read(tables, (family,))[0]
    sites: list[Site] = middle_sites(labels, range(len(labels.codes)))
    for seed in range(seeds):
        sites += held_out.sites_needed(labels, seed)
    rows_of(labels, sites, cache=cache)


def within_family(tables: Path, family: str, task: int, seeds: int, cache: Path) -> list[Result]:
    """All splits of one family and task."""
    labels = read(tables, (family,))[task]
    return [result for seed in range(seeds) for result in held_out.run(labels, seed, cache)]


def across_families(tables: Path, target: str, seeds: int, cache: Path) -> list[Transfer]:
    """All splits with one family left out."""
    found = []
    for seed in range(seeds):
        known = {one.labels.family: one for one in families(read(tables), seed)}
        found += transfer.run(target, known, seed, cache)
    return found


def held_out_table(results: Sequence[Result]) -> Iterator[str]:
    """Table 1."""
    yield "\n| family/task | labels | trees | operator counts | MACs |\n|---|---|---|---|---|"
    for (name, size), some in _groups(results, lambda r: (r.name, r.size)):
        by = {model: [r.spearman for r in some if r.model == model] for model in MODELS}
        counts, macs = np.mean(by[COUNTS]), np.mean(by[MACS])
        trees = f"{np.mean(by[TREES]):.3f} +- {np.std(by[TREES]):.3f}"
        yield f"| {name} | {size} | {trees} | {counts:.3f} | {macs:.3f} |"


def neighbour_table(results: Sequence[Result]) -> Iterator[str]:
    """Table 2."""
    yield "\n| family/task | labels | model | networks | Spearman mean / median | regret | random |"
    yield "|---|---|---|---|---|---|---|"
    ranked = [r for r in results if r.neighbours.parents and r.model in MODELS]
    for (name, size, model), some in _groups(ranked, lambda r: (r.name, r.size, r.model)):
        yield f"| {name} | {size} | {model} | {_near(some)} |"


def difference_table(results: Sequence[Result]) -> Iterator[str]:
    """Table 3: the models of changes beside the trees that had the same labels."""
    yield "\n| family/task | labels | model | held out | networks | neighbours | regret | random |"
    yield "|---|---|---|---|---|---|---|---|"
    sizes = {(r.name, r.size) for r in results if r.model == DIFFERENCES}
    shown = [r for r in results if (r.name, r.size) in sizes and r.model in (TREES, DIFFERENCES)]
    for (name, size, model), some in _groups(shown, lambda r: (r.name, r.size, r.model)):
        rank = np.mean([r.spearman for r in some])
        yield f"| {name} | {size} | {model} | {rank:.3f} | {_near(some)} |"


def uncertainty_table(results: Sequence[Result]) -> Iterator[str]:
    """Table 4."""
    yield "\n| family/task | labels | within 1 | within 2 | Spearman with the error |"
    yield "|---|---|---|---|---|"
    for (name, size), some in _groups(results, lambda r: (r.name, r.size)):
        known = [r.calibration for r in some if r.calibration is not None]
        if known:
            one, two, rank = np.mean([(c.within_one, c.within_two, c.rank) for c in known], axis=0)
            yield f"| {name} | {size} | {one:.3f} | {two:.3f} | {rank:.3f} |"


def transfer_table(results: Sequence[Transfer]) -> Iterator[str]:
    """Table 5."""
    yield "\n| family left out | its labels | method | trees | operator counts | MACs |"
    yield "|---|---|---|---|---|---|"
    groups = _groups(results, lambda r: (r.family, r.labels, r.method))
    for (family, labels, method), some in groups:
        by = {model: [r.spearman for r in some if r.model == model] for model in MODELS}
        means = (f"{np.mean(by[model]):.3f}" if by[model] else "-" for model in MODELS)
        yield f"| {family} | {labels} | {method} | {' | '.join(means)} |"


def _near(some: Sequence[Result]) -> str:
    near = [r.neighbours for r in some if r.neighbours.parents]
    if not near:
        return "0 | - | - | -"
    mean, median, regret, chance = np.mean(
        [(n.spearman, n.median, n.regret, n.random_regret) for n in near], axis=0
    )
    parents = sum(n.parents for n in near)
    return f"{parents} | {mean:.3f} / {median:.3f} | {regret:.3g} | {chance:.3g}"


def _groups(results: Sequence[T], key: Callable[[T], K]) -> Iterator[tuple[K, list[T]]]:
    """Results with equal keys, in the order in which the keys come first."""
    groups: dict[K, list[T]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    yield from groups.items()


def _tasks(tables: Path, names: Sequence[str]) -> list[tuple[str, int]]:
    """(family, number of the task), those that take longest first."""
    known: list[tuple[Labels, int]] = []
    for name in names:
        known += [(labels, task) for task, labels in enumerate(read(tables, (name,)))]
    known.sort(key=lambda one: -len(one[0].codes))
    return [(labels.family, task) for labels, task in known]


def main() -> None:
    """Print the tables."""
    from joblib import Parallel, delayed

    parser = argparse.ArgumentParser(description="Rank correlations of the predictor.")
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder to keep rows in")
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    names, seeds = chosen.family or list(FAMILIES), chosen.seeds
    tables, cache, parallel = chosen.tables, chosen.cache, Parallel(n_jobs=chosen.jobs)
    parallel(delayed(fill_cache)(tables, name, seeds, cache) for name in names)
    tasks = _tasks(tables, names)
    found = parallel(delayed(within_family)(tables, *task, seeds, cache) for task in tasks)
    results = sorted(
        (r for some in found for r in some), key=lambda r: names.index(r.name.split("/")[0])
    )
    for table in (held_out_table, neighbour_table, difference_table, uncertainty_table):
        print("\n".join(table(results)), flush=True)
    left_out = [name for name in names if name in MEASURED]
    across = parallel(delayed(across_families)(tables, name, seeds, cache) for name in left_out)
    print("\n".join(transfer_table([r for some in across for r in some])))


if __name__ == "__main__":
    main()
