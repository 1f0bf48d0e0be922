"""From candidates to scored items: what each saves, how well it can be fitted, what it costs.

Order matters for time: pricing needs no samples and drops most candidates, fitting drops those that
cannot follow the original, and only the rest is scored in the whole model. Candidates are fitted
in the order of `fit_order`, so that a short budget goes to those that a plan may take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from autogo_onnx.activations import Activations
from autogo_onnx.candidates import Candidate
from autogo_onnx.cost import macs
from autogo_onnx.errors import InputError
from autogo_onnx.fit_order import visits
from autogo_onnx.fitting.segment import Boundary, Refused, Weights, fit
from autogo_onnx.ground import Ground
from autogo_onnx.pricing import GROUP, Measure, disjoint, price_signatures, signature
from autogo_onnx.report import Skipped
from autogo_onnx.score import score
from autogo_onnx.segments import Site

LEAST_SAVING = 0.002
WORST_FIT = 0.5
CLEARLY = 0.7
SCORED_SAMPLES = 128
FEWEST_SCORED = 4
SCORED_SHARE = 0.5  # of the budget if every candidate were scored; about a third of them is
PRICING_SHARE = 0.35
SCORING_SHARE = 0.65
# Multiply-accumulates that one core is trusted to do in a second; sizes the work, never a result.
MACS_PER_SECOND = 2e10


@dataclass(frozen=True)
class Scored:
    """A candidate with its price and its cost.

    Attributes:
        candidate: the replacement.
        saving: share of the model's latency (or multiply-accumulates) that it saves.
        nmse: error of its fit on the original's activations.
        score: divergence of the model's outputs when it alone is made.
    """

    candidate: Candidate
    saving: float
    nmse: float
    score: float


@dataclass(frozen=True)
class Outcome:
    """What became of one fit.

    Attributes:
        candidate: what was fitted.
        saving: share of the model's latency (or multiply-accumulates) that it would save.
        nmse: error of the fit on the original's activations; infinite when there is none.
        score: divergence of the model's outputs when it alone is made; None when it was not scored.
    """

    candidate: Candidate
    saving: float
    nmse: float
    score: float | None = None


@dataclass(frozen=True)
class Fits:
    """What fitting found.

    Attributes:
        scored: items of which none is worse than another of its site in both respects.
        skipped: sites where every candidate was refused.
        outcomes: of all fits, in order of their making.
    """

    scored: tuple[Scored, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


def price(ground: Ground, candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
    """Candidates that save something, each with the share of the whole that it saves."""
    counted = ground.job.counted
    if counted is not None:
        whole = counted.of_network(ground.reading.opgraph) or 1.0
        prices = [(counted.cost(c.site.graph) - counted.cost(c.graph)) / whole for c in candidates]
    else:
        prices = _latency_prices(ground, candidates)
    return [(c, p) for c, p in zip(candidates, prices, strict=True) if p >= LEAST_SAVING]


def _macs_saved(ground: Ground, candidate: Candidate) -> float:
    return (macs(candidate.site.graph) - macs(candidate.graph)) / max(1, ground.macs)


def _latency_prices(ground: Ground, candidates: Sequence[Candidate]) -> list[float]:
    """The price of each candidate; 0 for what the time did not suffice to measure.

    Signatures that save most multiply-accumulates are measured first.
    """
    signatures = [signature(c.site.graph, c.graph) for c in candidates]
    alike: dict[str, list[Candidate]] = {}
    for key, candidate in zip(signatures, candidates, strict=True):
        alike.setdefault(key, []).append(candidate)
    order = sorted(alike, key=lambda key: (-sum(_macs_saved(ground, c) for c in alike[key]), key))
    ground.progress.stage("measure", len(order))
    measure = Measure(ground.feed, ground.options.threads, ground.options.seed)
    for start in range(0, len(order), GROUP):
        keys = order[start : start + GROUP]
        if ground.job.deadline.is_past(PRICING_SHARE) and not all(
            k in ground.job.table.entries for k in keys
        ):
            ground.job.notes.append(
                f"{len(order) - start} of {len(order)} kinds of replacement were not measured: "
                "the budget (--budget) was too short"
            )
            break
        steps = {k: disjoint([ground.step(c.site, c.graph) for c in alike[k]]) for k in keys}
        price_signatures(ground.model, steps, measure, ground.job.table)
        ground.progress.advance(len(keys))
    return [ground.job.table.entries.get(key, 0.0) for key in signatures]


def fit_and_score(
    ground: Ground, priced: Sequence[tuple[Candidate, float]], original: Activations
) -> Fits:
    """Fit every candidate on the original's activations and score what follows it well enough.

    Args:
        ground: the model.
        priced: candidates, those of one site in a row.
        original: activations of `ground.model` on the samples to fit on.
    """
    ground.progress.stage("fit", len(priced))
    jury = _jury(ground, priced, original)
    reference = jury.outputs_with({})
    attempts: dict[Site, _Attempts] = {}
    order = _order(priced)
    for done, items in enumerate(order):
        if ground.job.deadline.is_past(SCORING_SHARE):
            left = sum(len(later) for later in order[done:])
            ground.job.notes.append(
                f"{left} of {len(priced)} candidates were not fitted, those that promised least: "
                "the budget (--budget) was too short"
            )
            break
        here = attempts.setdefault(items[0][0].site, _Attempts())
        _fit_some(ground, items, original, here)
        here.judge(jury, reference)
        ground.progress.advance(len(items))
    return Fits(
        tuple(item for here in attempts.values() for item in here.scored()),
        tuple(
            Skipped(site.names, here.reasons[0]) for site, here in attempts.items() if not here.fits
        ),
        tuple(one for here in attempts.values() for one in here.with_scores()),
    )


def _order(priced: Sequence[tuple[Candidate, float]]) -> list[list[tuple[Candidate, float]]]:
    """Candidates in the order in which to fit them, those of one visit to a site together.

    Where no errors are expected of them: site by site, the largest saving first.
    """
    groups = [list(group) for _, group in groupby(priced, key=lambda pair: pair[0].site)]
    errors = [candidate.expected_error for candidate, _ in priced]
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return sorted(groups, key=lambda items: -max(saving for _, saving in items))
    sites = [number for number, group in enumerate(groups) for _ in group]
    savings = np.array([saving for _, saving in priced])
    return [[priced[n] for n in visit] for visit in visits(sites, savings, np.array(known))]


@dataclass(frozen=True)
class _Fit:
    candidate: Candidate
    saving: float
    nmse: float


@dataclass(frozen=True)
class _Attempts:
    """What was tried at one site by now; it grows with every visit.

    Attributes:
        fits: candidates that follow the original well enough.
        weights: of the fits of this visit; kept no longer, for they would fill memory.
        judged: those that were scored in the whole model.
        outcomes: of all fits.
        reasons: why the other candidates are not among the fits.
    """

    fits: list[_Fit] = field(default_factory=list)
    weights: dict[Candidate, Weights] = field(default_factory=dict)
    judged: dict[Candidate, Scored] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def judge(self, jury: Activations, reference: list[np.ndarray]) -> None:
        """Score the new fits that are promising."""
        for one in promising(self.fits):
            site, graph = one.candidate.site, one.candidate.graph
            if one.candidate in self.weights:
                weights = self.weights[one.candidate]
                value = score(site, graph, weights, jury, reference)
                self.judged[one.candidate] = Scored(one.candidate, one.saving, one.nmse, value)
        self.weights.clear()

    def scored(self) -> list[Scored]:
        """Items that may be chosen."""
        return undominated([self.judged[one.candidate] for one in promising(self.fits)])

    def with_scores(self) -> list[Outcome]:
        """The outcomes, those that were scored with their scores."""
        scores = {candidate: item.score for candidate, item in self.judged.items()}
        return [replace(one, score=scores.get(one.candidate)) for one in self.outcomes]


def _fit_some(
    ground: Ground,
    items: Sequence[tuple[Candidate, float]],
    original: Activations,
    here: _Attempts,
) -> None:
    """Fit some candidates of one site and note what became of them."""
    site = items[0][0].site
    inputs = tuple(original.stream(name) for name in site.inputs)
    target = original.stream(site.outputs[0])
    boundary = Boundary(inputs, target, rows=ground.settings.rows, seed=ground.settings.seed)
    weights = ground.weights(site)
    for candidate, saving in items:
        if ground.job.deadline.is_past(SCORING_SHARE):
            here.reasons.append("the budget (--budget) was too short")
            break
        try:
            fitted = fit(candidate.graph, site.graph, weights, boundary)
        except InputError as error:
            fitted = Refused(str(error))
        nmse = math.inf if isinstance(fitted, Refused) else fitted.nmse
        here.outcomes.append(Outcome(candidate, saving, nmse))
        if isinstance(fitted, Refused):
            here.reasons.append(fitted.reason)
        elif not nmse <= WORST_FIT:
            here.reasons.append(f"no replacement follows the original: error {nmse:.2f}")
        else:
            here.fits.append(_Fit(candidate, saving, nmse))
            here.weights[candidate] = fitted.weights


def promising(fits: Sequence[_Fit]) -> list[_Fit]:
    """Fits that no other of their site beats clearly: saves as much with a much smaller error.

    Local errors do not tell what an output suffers, but of two fits of one site the clearly
    worse one suffers more.
    """
    return [
        one
        for one in fits
        if not any(other.saving >= one.saving and other.nmse < CLEARLY * one.nmse for other in fits)
    ]


def _jury(
    ground: Ground, priced: Sequence[tuple[Candidate, float]], original: Activations
) -> Activations:
    """The original's activations on the few samples that scores are taken on."""
    original.require(sorted({n for c, _ in priced for n in (*c.site.inputs, *c.site.outputs)}))
    return original.first(_scored_samples(ground, len(priced), original))


def _scored_samples(ground: Ground, candidates: int, original: Activations) -> int:
    """As many samples as a share of the budget should allow, by counting multiply-accumulates."""
    seconds = max(1, ground.macs) / MACS_PER_SECOND / 2
    budget = SCORED_SHARE * ground.options.budget_s
    affordable = int(budget / max(1, candidates) / seconds)
    count = max(FEWEST_SCORED, min(SCORED_SAMPLES, affordable))
    batch = ground.fit.batch_size(1)
    return min(original.count, -(-count // batch) * batch)


def undominated(items: Sequence[Scored]) -> list[Scored]:
    """Items of one site that no other beats in saving without being worse in score."""
    ordered = sorted(items, key=lambda item: (-item.saving, item.score))
    kept: list[Scored] = []
    for item in ordered:
        if not kept or item.score < kept[-1].score:
            kept.append(item)
    return kept
