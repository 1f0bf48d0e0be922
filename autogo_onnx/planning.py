"""From priced candidates to scored items: how well each can be fitted, and what it costs.

Order matters for time: fitting drops those that cannot follow the original, and only the rest is
scored in the whole model. Candidates are fitted in the order of `fit_order`, so that a short budget
goes to those that a plan may take. What one visit to a site gave is scored while the next is
fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

import numpy as np

from autogo_onnx.activations import Activations
from autogo_onnx.attempts import Attempts, Trial
from autogo_onnx.candidates import Candidate
from autogo_onnx.cost import macs, parameters
from autogo_onnx.deadline import Deadline
from autogo_onnx.fit_order import visits
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.ground import MACS_PER_SECOND, Ground
from autogo_onnx.parallel import beside
from autogo_onnx.report import Skipped
from autogo_onnx.segments import Site

WORST_FIT = 0.5
CLEARLY = 0.7
SCORED_SAMPLES = 128
FEWEST_SCORED = 4
SCORED_SHARE = 0.5  # of the budget if every candidate were scored; about a third of them is
FITTING_SHARE = 0.5  # of what is left when it begins


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

    @property
    def names(self) -> tuple[str, ...]:
        """Of the nodes that are replaced."""
        return self.candidate.site.names

    @property
    def by(self) -> str:
        """What replaces them."""
        return self.candidate.name

    @property
    def macs_delta(self) -> int:
        """Change of the multiply-accumulates."""
        return macs(self.candidate.graph) - macs(self.candidate.site.graph)

    @property
    def params_delta(self) -> int:
        """Change of the parameters."""
        return parameters(self.candidate.graph) - parameters(self.candidate.site.graph)


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
    deadline = ground.job.deadline.part(FITTING_SHARE)
    judging = scored_samples(ground, len(priced), original)
    attempts = Attempts(ground, original, judging, {c.site for c, _ in priced})
    found: dict[Site, _Found] = {}
    left = 0
    with beside(threads=ground.options.threads, clock=deadline.clock) as scoring:
        for items in _order(priced):
            here = found.setdefault(items[0][0].site, _Found())
            left += here.fit(items, attempts, deadline)
            scoring.wait()
            attempts.keep_scores()
            new = [(one, attempts.trial(one.candidate)) for one in here.unjudged()]
            attempts.forget()
            scoring.begin(partial(here.judge, new, attempts))
            ground.progress.advance(len(items))
    attempts.keep_scores()
    if left:
        ground.job.notes.append(
            f"{left} of {len(priced)} candidates were not fitted, those that promised least: "
            "the budget (--budget) was too short"
        )
    return Fits(
        tuple(item for here in found.values() for item in here.scored()),
        tuple(
            Skipped(site.names, here.reasons[0]) for site, here in found.items() if not here.fits
        ),
        tuple(one for here in found.values() for one in here.with_scores()),
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
class _Found:
    """What was found at one site by now; it grows with every visit.

    Attributes:
        fits: candidates that follow the original well enough.
        judged: those that were scored in the whole model.
        outcomes: of all fits.
        reasons: why the other candidates are not among the fits.
    """

    fits: list[_Fit] = field(default_factory=list)
    judged: dict[Candidate, Scored] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def fit(
        self, items: Sequence[tuple[Candidate, float]], attempts: Attempts, deadline: Deadline
    ) -> int:
        """Fit some candidates and note what became of them; how many there was no time for."""
        late = 0
        for candidate, saving in items:
            if deadline.is_past() and not attempts.knows(candidate):
                self.reasons.append("the budget (--budget) was too short")
                late += 1
                continue
            error = attempts.error(candidate)
            nmse = math.inf if isinstance(error, Refused) else error
            self.outcomes.append(Outcome(candidate, saving, nmse))
            if isinstance(error, Refused):
                self.reasons.append(error.reason)
            elif not nmse <= WORST_FIT:
                self.reasons.append(f"no replacement follows the original: error {nmse:.2f}")
            else:
                self.fits.append(_Fit(candidate, saving, nmse))
        return late

    def unjudged(self) -> list[_Fit]:
        """The promising ones that were not scored yet."""
        return [one for one in promising(self.fits) if one.candidate not in self.judged]

    def judge(self, new: Sequence[tuple[_Fit, Trial]], attempts: Attempts) -> None:
        """Score some fits; more may be added meanwhile."""
        for one, trial in new:
            value = attempts.score(trial)
            self.judged[one.candidate] = Scored(one.candidate, one.saving, one.nmse, value)

    def scored(self) -> list[Scored]:
        """Items that may be chosen."""
        return undominated([self.judged[one.candidate] for one in promising(self.fits)])

    def with_scores(self) -> list[Outcome]:
        """The outcomes, those that were scored with their scores."""
        scores = {candidate: item.score for candidate, item in self.judged.items()}
        return [replace(one, score=scores.get(one.candidate)) for one in self.outcomes]


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


def scored_samples(ground: Ground, candidates: int, original: Activations) -> int:
    """As many samples as a share of the budget should allow, by counting multiply-accumulates.

    The others, which are fitted on to find a score, are half of all at least.
    """
    batch = ground.fit.batch_size(1)
    seconds = max(1, ground.macs) / batch / MACS_PER_SECOND / 2
    budget = SCORED_SHARE * ground.options.budget_s
    affordable = int(budget / max(1, candidates) / seconds)
    count = max(FEWEST_SCORED, min(SCORED_SAMPLES, affordable))
    most = original.count // 2 // batch * batch
    return max(batch, min(most, -(-count // batch) * batch))


def undominated(items: Sequence[Scored]) -> list[Scored]:
    """Items of one site that no other beats in saving without being worse in score."""
    ordered = sorted(items, key=lambda item: (-item.saving, item.score))
    kept: list[Scored] = []
    for item in ordered:
        if not kept or item.score < kept[-1].score:
            kept.append(item)
    return kept
