"""Candidates fitted one at a time, and tried alone in the whole model.

An interrupted run has kept what came of it, so that nothing is fitted again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Lock
from typing import Any

import numpy as np

from autogo_onnx.activations import Activations
from autogo_onnx.candidates import Candidate
from autogo_onnx.errors import InputError, OutOfTime
from autogo_onnx.fitting.segment import Boundary, Refused, Weights, fit
from autogo_onnx.ground import Ground
from autogo_onnx.opgraph import to_json
from autogo_onnx.score import score
from autogo_onnx.segments import Site

_ERROR, _SCORE = "fit", "score"


@dataclass(frozen=True)
class Trial:
    """A candidate to be scored.

    Attributes:
        candidate: which one.
        weights: its fit's; empty where the score is known.
        known: its score, if an interrupted run found it.
    """

    candidate: Candidate
    weights: Weights
    known: float | None


class Attempts:
    """Fits on the original's activations, and what they do to the model's outputs."""

    def __init__(
        self, ground: Ground, original: Activations, judging: int, sites: Iterable[Site]
    ) -> None:
        """Nothing is computed yet.

        Args:
            ground: the model.
            original: its activations on the samples to fit on.
            judging: how many of the samples scores are taken on; candidates are fitted on the
                others.
            sites: of all candidates that may come; what they read is computed in one go.
        """
        self._ground = ground
        self._original = original
        self._judging = judging
        self._tensors = sorted({name for site in sites for name in (*site.inputs, *site.outputs)})
        self._lock = Lock()
        self._boundary: tuple[Site, Boundary] | None = None
        self._weights: dict[Candidate, Weights] = {}
        self._scored: list[tuple[Candidate, float]] = []

    def knows(self, candidate: Candidate) -> bool:
        """Whether its error needs no fit, because an interrupted run found it."""
        return self._ground.job.checkpoints.knows(_ERROR, self._key(candidate))

    def error(self, candidate: Candidate) -> float | Refused:
        """Error of its fit; or why it cannot be fitted."""

        def compute() -> float | str:
            result = self._fit(candidate)
            return result.reason if isinstance(result, Refused) else result

        found = self._ground.job.checkpoints.value(_ERROR, self._key(candidate), compute)
        return Refused(found) if isinstance(found, str) else float(found)

    def trial(self, candidate: Candidate) -> Trial:
        """What scoring a candidate needs, which can be fitted."""
        known = self._ground.job.checkpoints.get(_SCORE, self._key(candidate))
        if known is not None:
            return Trial(candidate, {}, float(json.loads(known)))
        if candidate not in self._weights:
            self._fit(candidate)
        return Trial(candidate, self._weights[candidate], None)

    def forget(self) -> None:
        """Let go of weights, which would fill memory."""
        self._weights.clear()

    def keep_scores(self) -> None:
        """Keep those that were found since, for a run that goes on; none may be sought now."""
        for candidate, value in self._scored:
            self._ground.job.checkpoints.value(_SCORE, self._key(candidate), partial(float, value))
        self._scored.clear()

    def score(self, trial: Trial) -> float:
        """Divergence of the model's outputs when a candidate alone is put in.

        Others may be fitted at the same time: nothing is read or written that fits change.

        Raises:
            OutOfTime: the run is broken off.
        """
        if trial.known is not None:
            return trial.known
        if self._ground.job.deadline.clock.is_stopped:
            raise OutOfTime("the run is broken off")
        site, graph = trial.candidate.site, trial.candidate.graph
        value = score(site, graph, trial.weights, self._jury, self._reference)
        self._scored.append((trial.candidate, value))
        return value

    def _fit(self, candidate: Candidate) -> float | Refused:
        site = candidate.site
        boundary = self._boundary_of(site)
        try:
            fitted = fit(candidate.graph, site.graph, self._ground.weights(site), boundary)
        except InputError as error:
            return Refused(str(error))
        if isinstance(fitted, Refused):
            return fitted
        self._weights[candidate] = fitted.weights
        return fitted.nmse

    def _boundary_of(self, site: Site) -> Boundary:
        """What a fit at a site sees; that of the last site is remembered."""
        if self._boundary is None or self._boundary[0] is not site:
            settings = self._ground.settings
            inputs = tuple(self._learning.stream(name) for name in site.inputs)
            target = self._learning.stream(site.outputs[0])
            boundary = Boundary(
                inputs,
                target,
                rows=settings.rows,
                seed=settings.seed,
                importance=self._learning.importance(site.outputs[0]),
            )
            self._boundary = site, boundary
        return self._boundary[1]

    @cached_property
    def _learning(self) -> Activations:
        return self._known().after(self._judging)

    @cached_property
    def _jury(self) -> Activations:
        return self._known().first(self._judging)

    @cached_property
    def _reference(self) -> list[np.ndarray[Any, Any]]:
        return self._jury.outputs_with({})

    def _known(self) -> Activations:
        """The original's, computed by whoever asks first: fits and scores run side by side."""
        with self._lock:
            self._original.require(self._tensors)
        return self._original

    def _key(self, candidate: Candidate) -> str:
        """All that the error and the score depend on, beyond the folder of the checkpoints."""
        settings = self._ground.settings
        samples = (self._original.count, self._judging, settings.rows, settings.seed)
        ops, graph = candidate.site.cut.ops, to_json(candidate.graph)
        return json.dumps([self._ground.digest, samples, list(ops), graph])
