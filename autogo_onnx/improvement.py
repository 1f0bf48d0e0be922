"""Fitted optimization from an exactly rewritten model to realized plans, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autogo_onnx.activations import Activations
from autogo_onnx.candidates import Candidate, Catalogue
from autogo_onnx.choices import Choices
from autogo_onnx.cost import macs
from autogo_onnx.deadline import Deadline
from autogo_onnx.distillation import TRAINING_GAIN, Lessons, distil, read_lessons
from autogo_onnx.errors import InputError
from autogo_onnx.frontier import REFINEMENTS_BEFORE_TRAINING, best, explore
from autogo_onnx.gate import Gate
from autogo_onnx.ground import Ground
from autogo_onnx.planning import Fits, Outcome, fit_and_score
from autogo_onnx.plans import Plans, Point
from autogo_onnx.predictor import open_predictor
from autogo_onnx.report import Skipped
from autogo_onnx.savings import price
from autogo_onnx.segment_db.segmentation import pieces
from autogo_onnx.segment_db.store import open_store
from autogo_onnx.segments import Site
from autogo_onnx.sites import find_sites, left_alone
from autogo_onnx.variants import fine_widths, rounded_widths
from autogo_onnx.widths import propose_narrowings
from autogo_onnx.widths.narrowing import Narrowing

SEGMENT_SHARE = 0.2
"""Of the time that is left, for finding candidates."""
SEARCH_SHARE = 0.3
"""Of the time that is left, for plans that need no training, where there is training."""


@dataclass(frozen=True)
class Improvement:
    """What fitted optimization found.

    Attributes:
        points: every realized plan.
        best: the fastest that passes the gate; None when nothing does.
        gate: the judge, with the original's outputs and metric.
        skipped: convolutions that cannot be replaced, and sites where no candidate could be fitted.
        outcomes: what became of every fit.
        seconds: wall-clock time by stage.
    """

    points: tuple[Point, ...]
    best: Point | None
    gate: Gate
    skipped: tuple[Skipped, ...]
    outcomes: tuple[Outcome, ...]
    seconds: dict[str, float]


class Stopwatch:
    """Wall-clock seconds by stage; a stage lasts until the next one begins."""

    def __init__(self, ground: Ground) -> None:
        self.deadline = ground.job.deadline
        self.seconds: dict[str, float] = {}
        self._last = ground.job.deadline.elapsed()

    def lap(self, stage: str) -> None:
        """Everything since the last lap was this stage."""
        now = self.deadline.elapsed()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def improve(ground: Ground) -> Improvement:
    """Segment, propose, price, fit, score, select and realize.

    Raises:
        InputError: the database, the predictor, the user's metric or the samples to train on cannot
            be used.
        PromiseError: a fit gave other weights than its segment needs.
    """
    watch = Stopwatch(ground)
    material = _to_learn_from(ground)
    candidates = propose(ground)
    watch.lap("segment")
    gate = Gate(ground)
    if gate.overconfidence is not None:
        ground.job.notes.append(str(gate.overconfidence))
    original = ground.activations(ground.fit)
    if original.count < len(ground.fit):
        ground.job.notes.append(
            f"{original.count} of {len(ground.fit)} samples are fitted on: their activations leave "
            "no room on the disk for more (--memory)"
        )
    watch.lap("calibrate")
    narrowings = _narrowings(ground, original)
    watch.lap("narrow")
    priced = price(ground, candidates)
    watch.lap("measure")
    if not priced:
        ground.job.notes.append("no segment has a replacement that would save anything")
    fits = _fits(ground, priced, original)
    del original  # Plans keep activations of their own.
    watch.lap("fit")
    points: list[Point] = []
    if fits.scored or narrowings:
        plans = Plans(gate, Choices(ground, fits.scored, narrowings))
        points = _explored(plans, material)
        watch.lap("select")
        points += _trained_back(plans, material)
        watch.lap("distil")
    alone = left_alone(ground.reading, fixed_size=ground.has_fixed_size)
    refused = [Skipped(names, reason) for reason, names in alone.items()]
    return Improvement(
        points=tuple(points),
        best=best(points),
        gate=gate,
        skipped=(*refused, *fits.skipped),
        outcomes=fits.outcomes,
        seconds=watch.seconds,
    )


def _explored(plans: Plans, material: Lessons | None) -> list[Point]:
    """Plans that need no training: most of the time is left for it where there is any."""
    whole = plans.ground.job.deadline
    if material is None:
        return explore(plans, whole)
    return explore(plans, whole.part(SEARCH_SHARE), REFINEMENTS_BEFORE_TRAINING, TRAINING_GAIN)


def _to_learn_from(ground: Ground) -> Lessons | None:
    """Samples to train on, which are refused before minutes are spent."""
    return None if ground.options.distill is None else read_lessons(ground)


def _trained_back(plans: Plans, material: Lessons | None) -> list[Point]:
    """Plans that were trained on the user's samples, where there are such.

    Where none passes, what is left of the time is for more that need no training.
    """
    if material is None:
        return []
    known = set(plans.made)
    trained = distil(plans, material)
    if best(trained) is not None:
        return trained
    explore(plans, plans.ground.job.deadline)
    more = [point for chosen, point in plans.made.items() if chosen not in known]
    return trained + [point for point in more if point is not None]


def _narrowings(ground: Ground, original: Activations) -> list[Narrowing]:
    """Groups of layers that may be narrowed; none where the model cannot be run part by part."""
    try:
        return propose_narrowings(ground, original)
    except InputError as error:
        ground.job.notes.append(f"no layers were narrowed: parts of the model do not run: {error}")
        return []


def _fits(ground: Ground, priced: Sequence[tuple[Candidate, float]], original: Activations) -> Fits:
    """Items that may be chosen; none where the model cannot be run part by part.

    A Scan, for one, does not run when the shapes of what it reads are not declared.
    """
    if not priced:
        return Fits()
    try:
        return fit_and_score(ground, priced, original)
    except InputError as error:
        ground.job.notes.append(f"nothing was fitted: parts of the model do not run: {error}")
        return Fits()


def propose(ground: Ground) -> list[Candidate]:
    """Every candidate at every site of the model."""
    store = open_store(ground.options.segment_db)
    ground.progress.stage("segment")
    cuts = pieces(ground.reading.opgraph, store.vocabulary())
    # What is counted has no blocks of channels.
    counted = ground.job.counted
    widths = fine_widths if counted is not None and counted.device is None else rounded_widths
    predictor = open_predictor(ground.options.predictor)
    catalogue = Catalogue(ground.reading, store, predictor, widths=widths)
    sites = find_sites(ground.reading, cuts, fixed_size=ground.has_fixed_size)
    found = _found(catalogue, sites, ground.job.deadline.part(SEGMENT_SHARE))
    if len(found) < len(sites):
        ground.job.notes.append(
            f"{len(sites) - len(found)} of {len(sites)} sites got no candidates, those with the "
            "fewest multiply-accumulates: the budget (--budget) was too short"
        )
    return [candidate for site in sites for candidate in found.get(site, ())]


def _found(
    catalogue: Catalogue, sites: Sequence[Site], deadline: Deadline
) -> dict[Site, tuple[Candidate, ...]]:
    """Candidates by site, the sites that compute most first, until the deadline."""
    found = {}
    for site in sorted(sites, key=lambda site: (-macs(site.graph), site.cut.ops)):
        if deadline.is_past():
            break
        found[site] = catalogue.candidates(site)
    return found
