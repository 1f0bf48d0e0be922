"""How many fits `optimize` needs until its plan is as good as with all of them, by their order.

    python -m benchmarks.fits_needed [TRIALS] [--random 20]

Plays fitting through on complete experience (`benchmarks.experience`): after so many fits in an
order, what is promising is scored and a plan chosen that saves a share of what can be saved at
most. Needed are the fewest fits after which the plan's summed score is within 5 % of that of the
plan from all fits. Errors are predicted by a head that was trained on the other models only.

The first table is what the head is worth by itself: Spearman of the predicted with the real error,
mean over the sites and over all candidates of a model; multiply-accumulates beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.stats import spearmanr

from autogo_onnx import features
from autogo_onnx.fit_order import visits
from autogo_onnx.planning import CLEARLY, WORST_FIT
from autogo_onnx.predictor_training import fit_error
from autogo_onnx.predictor_training.dataset import Dataset
from autogo_onnx.predictor_training.trials import Place, Trial, Trials, read
from benchmarks.experience import OUT

Floats = NDArray[np.float64]

SHARES = (0.25, 0.5, 0.75)
CLOSE = 1.05
GAP = 0.003
FEWEST_RANKED = 5


@dataclass(frozen=True)
class Fitted:
    """All trials of a model that `optimize` makes, with the errors expected of them."""

    places: tuple[Place, ...]
    expected: Floats

    @cached_property
    def trials(self) -> list[Trial]:
        """Of all sites, one site after the other."""
        return [trial for place in self.places for trial in place.trials]

    @cached_property
    def sites(self) -> list[int]:
        """Which place each trial is at."""
        return [number for number, place in enumerate(self.places) for _ in place.trials]

    @cached_property
    def savings(self) -> Floats:
        """What each trial saves, float64[N]."""
        return np.array([trial.saving for trial in self.trials])

    def items(self, fitted: Sequence[int]) -> list[int]:
        """Those of the fitted that could be chosen: promising and not dominated."""
        of_site: dict[int, list[int]] = {}
        for n in fitted:
            if self.trials[n].nmse <= WORST_FIT:
                of_site.setdefault(self.sites[n], []).append(n)
        return [n for group in of_site.values() for n in self._undominated(group)]

    def _undominated(self, group: Sequence[int]) -> list[int]:
        saving = self.savings[group]
        nmse = np.array([self.trials[n].nmse for n in group])
        better = (saving[:, None] >= saving) & (nmse[:, None] < CLEARLY * nmse)
        left = [n for column, n in enumerate(group) if not better[:, column].any()]
        kept: list[int] = []
        for n in sorted(left, key=lambda n: (-self.savings[n], self.score(n))):
            if not kept or self.score(n) < self.score(kept[-1]):
                kept.append(n)
        return kept

    def score(self, n: int) -> float:
        """What one trial that follows the original does to the outputs."""
        score = self.trials[n].score
        assert score is not None, "what follows the original was scored"
        return score

    def plan(self, fitted: Sequence[int], saving: float) -> float:
        """Summed score of the best plan that saves so much; infinite where there is none."""
        items = self.items(fitted)
        scores = np.array([self.score(n) for n in items])
        chosen = self._solve(items, scores, saving)
        return float(scores[chosen].sum()) if chosen is not None else np.inf

    def largest_saving(self) -> float:
        """What a plan saves at most."""
        items = self.items(range(len(self.trials)))
        chosen = self._solve(items, -self.savings[items], 0.0)
        assert chosen is not None
        return float(self.savings[items][chosen].sum())

    def _solve(
        self, items: Sequence[int], costs: Floats, saving: float
    ) -> NDArray[np.bool_] | None:
        if not items:
            return None
        covers = np.zeros((1 + max(op for p in self.places for op in p.ops), len(items)))
        for column, n in enumerate(items):
            covers[list(self.places[self.sites[n]].ops), column] = 1
        limits = [
            LinearConstraint(self.savings[items][None], saving - 1e-9, np.inf),
            LinearConstraint(np.unique(covers, axis=0), -np.inf, 1),
        ]
        unit = float(np.median(np.abs(costs))) or 1.0
        found = milp(
            costs / unit,
            constraints=limits,
            integrality=np.ones(len(items)),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": GAP},
        )
        return None if found.x is None else found.x > 0.5

    def needed(self, order: Sequence[int], saving: float) -> int:
        """Fits until the plan is close to the final one, to a hundredth of all."""
        enough = CLOSE * self.plan(order, saving)
        low, high = 0, len(order)
        while high - low > max(1, len(order) // 100):
            middle = (low + high) // 2
            low, high = (
                (low, middle) if self.plan(order[:middle], saving) <= enough else (middle, high)
            )
        return high


def expected_errors(models: Sequence[Trials]) -> dict[str, tuple[Dataset, Floats]]:
    """Rows of every model, and what a head trained on the others says of them."""
    rows = {model.model: fit_error.dataset(model) for model in models}
    return {
        name: (
            data,
            fit_error.train([d for o, d in rows.items() if o != name]).predict(data.rows).mean,
        )
        for name, data in rows.items()
    }


def made(model: Trials, expected: Floats) -> Fitted:
    """Only what `optimize` makes."""
    flags = np.array([trial.is_offered for place in model.places for trial in place.trials])
    places = (
        replace(place, trials=tuple(t for t in place.trials if t.is_offered))
        for place in model.places
    )
    return Fitted(tuple(place for place in places if place.trials), expected[flags])


def orders(fitted: Fitted) -> dict[str, list[int]]:
    """Candidates as they are fitted: by the head, site by site as without it, by what they save."""
    count = range(len(fitted.trials))
    largest = {
        s: max(fitted.savings[n] for n in count if fitted.sites[n] == s) for s in set(fitted.sites)
    }
    by_visit = visits(fitted.sites, fitted.savings, fitted.expected)
    return {
        "predicted": [n for visit in by_visit for n in visit],
        "by site": sorted(count, key=lambda n: (-largest[fitted.sites[n]], fitted.sites[n], n)),
        "by MACs": sorted(count, key=lambda n: (-fitted.savings[n], n)),
    }


def ranking(model: Trials, data: Dataset, predicted: Floats) -> tuple[float, float]:
    """Spearman with the real error: mean over sites by their candidates, and over all."""
    found, weights, start = [], [], 0
    for place in model.places:
        here = slice(start, start + len(place.trials))
        start = here.stop
        if len(place.trials) >= FEWEST_RANKED and np.ptp(data.targets[here]) > 0:
            varies = np.ptp(predicted[here]) > 0
            found.append(spearmanr(predicted[here], data.targets[here])[0] if varies else 0.0)
            weights.append(len(place.trials))
    return float(np.average(found, weights=weights)), float(spearmanr(predicted, data.targets)[0])


def print_ranking(models: Sequence[Trials], known: Mapping[str, tuple[Dataset, Floats]]) -> None:
    """The first table."""
    column = features.COLUMNS.index("change.macs_log2")
    print("| model | trials | within a site | all | MACs: within a site | all |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for model in models:
        data, predicted = known[model.model]
        figures = (
            *ranking(model, data, predicted),
            *ranking(model, data, -data.rows[:, column].astype(np.float64)),
        )
        text = " | ".join(f"{figure:.2f}" for figure in figures)
        print(f"| {model.model} | {len(data.targets)} | {text} |", flush=True)


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=OUT)
@click.option("--random", "draws", type=int, default=20, show_default=True)
def main(path: Path, draws: int) -> None:
    """Print both tables."""
    models = read(path)
    known = expected_errors(models)
    print_ranking(models, known)
    print("\n| model | saving | all fits | predicted | by site | by MACs | random |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for model in models:
        fitted = made(model, known[model.model][1])
        largest, ways = fitted.largest_saving(), orders(fitted)
        for share in SHARES:
            saving = share * largest
            counts = [fitted.needed(order, saving) for order in ways.values()]
            drawn = [
                fitted.needed(
                    np.random.default_rng(seed).permutation(len(fitted.trials)).tolist(), saving
                )
                for seed in range(draws)
            ]
            text = " | ".join(str(count) for count in counts)
            print(
                f"| {model.model} | {saving:.2f} | {len(fitted.trials)} | {text} | "
                f"{np.mean(drawn):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
