"""The plans that a run of `optimize` realizes: what the gate expects, and what is truly lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from autogo_onnx import calibration
from autogo_onnx import model as model_file
from autogo_onnx.fidelity import UNSEEN
from autogo_onnx.ground import survey
from autogo_onnx.improvement import improve
from autogo_onnx.job import begin
from autogo_onnx.one_thread import one_blas_thread
from autogo_onnx.options import Options
from autogo_onnx.plans import Point
from autogo_onnx.progress import Silent
from benchmarks.ablations import mined_share, narrowed_share, without
from benchmarks.cases import Case
from benchmarks.optimize_zoo import samples_of
from benchmarks.quality import Judge


@dataclass(frozen=True)
class Plan:
    """A realized plan; losses in points of top-1.

    Attributes:
        model, variant, seed: of which run.
        latency_ratio: as the search measured it.
        passes: whether the gate lets it through.
        expected: mean loss that the gate expects, without labels.
        promised: the gate's bound times the factor for seen samples.
        lost: on test images.
        replaced: segments and layers.
        mined: share of what it is to save that segments of the database save.
        narrowed: share that narrower layers save.
    """

    model: str
    variant: str
    seed: int
    latency_ratio: float
    passes: bool
    expected: float
    promised: float
    lost: float
    replaced: int
    mined: float
    narrowed: float


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        variant: what was missing, as text.
        plans: that were judged by labels.
        delivered: the plan of the model that is delivered; None where that is only rewritten
            exactly.
        model: that model's file.
        fits: how many were made.
        is_cut_short: whether the budget kept it from something.
    """

    variant: str
    plans: tuple[Plan, ...]
    delivered: Plan | None
    model: Path
    fits: int
    is_cut_short: bool


@dataclass(frozen=True)
class Bench:
    """One labelled model.

    Attributes:
        case: what it is.
        source: its file.
        folder: for samples, prices and models.
        budget_s: of each run.
    """

    case: Case
    source: Path
    folder: Path
    budget_s: float

    @cached_property
    def truth(self) -> Judge:
        """Tells by labels what is lost."""
        return self.case.quality.against(self.source)

    @cached_property
    def feed(self) -> Mapping[str, np.ndarray]:
        """One batch to measure with."""
        samples = calibration.load(
            samples_of(self.case, self.folder), model_file.load(self.source), Options()
        )
        return next(samples.batches(1))

    def run(self, variant: str, missing: frozenset[str], seed: int) -> Run:
        """Optimize as the command does; the samples and their halves are drawn by the seed.

        Where parts are missing, only the delivered plan is judged.
        """
        job = begin(self.source, without(self._options(seed), missing, self.folder), Silent())
        assert job.samples is not None, "there are samples"
        ground = survey(job, job.samples)
        with one_blas_thread():
            found = improve(ground)
        job.table.write(self._prices(seed))
        path = self.folder / f"{self.case.model}.{variant.replace(' ', '_')}.{seed}.onnx"
        onnx.save(ground.model if found.best is None else found.best.model, path)
        points = [p for p in found.points if p is found.best or not missing]
        plans = [self._plan(point, variant, seed) for point in points]
        best = next((p for p, q in zip(plans, points, strict=True) if q is found.best), None)
        cut_short = any("(--budget)" in note for note in job.notes)
        return Run(variant, tuple(plans), best, path, len(found.outcomes), cut_short)

    def _options(self, seed: int) -> Options:
        """All variants of a seed share its prices."""
        prices = self._prices(seed)
        return Options(
            calibration=samples_of(self.case, self.folder, seed),
            budget_s=self.budget_s,
            seed=seed,
            latency_table=prices if prices.exists() else None,
        )

    def _prices(self, seed: int) -> Path:
        return self.folder / f"{self.case.model}.{seed}.latency.json"

    def _plan(self, point: Point, variant: str, seed: int) -> Plan:
        path, fidelity = self.folder / "plan.onnx", point.verdict.fidelity
        onnx.save(point.model, path)
        assert fidelity.drop is not None, "the outputs are class scores"
        assert fidelity.drop_bound is not None, "the outputs are class scores"
        return Plan(
            self.case.model,
            variant,
            seed,
            point.ratio,
            point.passes,
            100 * fidelity.drop,
            100 * UNSEEN * fidelity.drop_bound,
            self.truth(path).lost,
            len(point.plan),
            mined_share(point),
            narrowed_share(point),
        )
