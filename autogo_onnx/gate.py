"""The judge of realized plans: the user's metric, else fidelity on samples that no fit has seen.

Class scores are judged crosswise. A plan is fitted twice, on either half of the samples, and each
of the two models is judged on the half it has not seen; what they lose is pooled. One confident
change of answer among 256 samples would otherwise decide. The first of the two models is the
one that is delivered, so it has itself been judged on unseen samples.

An overconfident classifier of pictures is judged on their mirror images: it may know the samples by
heart, and then hardly an answer changes on them, whatever becomes of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import onnx

from autogo_onnx import signature, verify
from autogo_onnx.class_drop import is_class_scores
from autogo_onnx.errors import InputError
from autogo_onnx.ground import Ground
from autogo_onnx.isolation import Isolated
from autogo_onnx.metric import Figure, evaluate, load_metric
from autogo_onnx.overconfidence import Overconfidence, overconfidence
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import Samples
from autogo_onnx.views import MIRRORED

Feed = Mapping[str, np.ndarray[Any, Any]]
Shapes = tuple[tuple[int, ...], ...]
Folds = tuple[tuple[Samples, Samples], ...]
Judged = Sequence[Sequence[np.ndarray[Any, Any]]]


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a plan.

    Attributes:
        fidelity: to the original.
        metric: the user's, if there is one.
        passes: whether that is enough.
        lost: of the metric, as it decides: see `metric.Figure.lost`.
        keeps_sizes: whether inputs of other sizes give outputs of the same shapes as before; else
            nothing more was asked.
    """

    fidelity: verify.Fidelity
    metric: float | None
    passes: bool
    lost: float | None = None
    keeps_sizes: bool = True


class Gate:
    """Decides on plans; `folds` tells which samples to fit on and which to judge on.

    Attributes:
        folds: pairs (to fit on, to judge on); the first is that of the delivered model.
        before: the original's value of the user's metric, if there is one.
        overconfidence: of the original, where the gate depends on it and mirrored pictures tell.
        seconds: what judging a plan takes, as judging the original did.
    """

    def __init__(
        self, ground: Ground, folds: Folds | None = None, first: Gate | None = None
    ) -> None:
        """Judge the original.

        Args:
            ground: the model, its samples and the limits.
            folds: other samples than those that were shared out for fitting and judging.
            first: another gate, whose conclusions of the original hold here as well.
        """
        start = monotonic()
        self.ground = ground
        reference = ground.options.evaluate
        self.metric = load_metric(reference) if reference else None
        self.before: Figure | None
        self._metric_s: float
        if first is None:
            self.before = self.evaluate(ground.job.original)
            self._metric_s = monotonic() - start
        else:
            self.before, self._metric_s = first.before, first._metric_s
        begin = monotonic()
        self.folds = folds or self._folds()
        plain = [self._outputs(ground.job.original, judge) for _, judge in self.folds]
        self.seconds = self._metric_s + monotonic() - begin
        self.overconfidence, self.reference = self._concluded(plain, first)
        fixed = ground.has_fixed_size
        self.sizes = () if fixed else other_sizes(ground.job.original, ground.feed)

    def _folds(self) -> Folds:
        halves = (self.ground.fit, self.ground.held_out)
        outputs = self._outputs(self.ground.job.original, self.ground.held_out.take([0, 1]))
        if self.metric is None and is_class_scores(outputs[0]):
            return halves, halves[::-1]
        return (halves,)

    def _concluded(self, plain: Judged, first: Gate | None) -> tuple[Overconfidence | None, Judged]:
        """How overconfident the original is, where no labels tell what is lost.

        Args:
            plain: its outputs on the judging samples.
            first: another gate, whose conclusion holds here as well.

        Returns:
            That, and its outputs on what is judged.
        """
        judging = [judge for _, judge in self.folds]
        told = self.metric is not None or any(samples.labels is not None for samples in judging)
        views = [view for samples in judging if (view := MIRRORED.of(samples)) is not None]
        if told or self.ground.options.gate == "agreement" or len(views) < len(judging):
            return None, plain
        if not is_class_scores(plain[0][0]) or (first is not None and first.overconfidence is None):
            return None, plain
        try:
            other = [self._outputs(self.ground.job.original, view) for view in views]
        except InputError:
            return None, plain  # It takes these pictures, but not every picture.
        if first is not None:
            return first.overconfidence, other
        found = overconfidence(_pooled(plain)[0], _pooled(other)[0])
        return found, plain if found is None else other

    def evaluate(self, model: onnx.ModelProto) -> Figure | None:
        """The user's metric of a model; None without one."""
        return None if self.metric is None else evaluate(self.metric, model)

    @property
    def temperature(self) -> float:
        """Of the original's class scores, where no labels tell."""
        return 1.0 if self.overconfidence is None else self.overconfidence.temperature

    def outputs(self, model: onnx.ModelProto, samples: Samples) -> list[np.ndarray[Any, Any]]:
        """What is judged of a model: its outputs on the samples, or on their mirror images."""
        other = None if self.overconfidence is None else MIRRORED.of(samples)
        return self._outputs(model, samples if other is None else other)

    def judge(self, models: Sequence[onnx.ModelProto]) -> Verdict:
        """The verdict on a plan, of which there is one model per fold."""
        options, fidelity = self.ground.options, self._fidelity(models)
        if not self._keeps_sizes(models[0]):
            return Verdict(fidelity, None, passes=False, keeps_sizes=False)
        after = self.evaluate(models[0])
        if after is not None and self.before is not None:
            lost = self.before.lost(after)
            return Verdict(fidelity, after.value, lost <= options.max_drop, lost)
        passes = fidelity.passes(max_drop=options.max_drop, min_psnr=options.min_psnr)
        return Verdict(fidelity, None, passes)

    def judge_unfitted(self, model: onnx.ModelProto) -> Verdict:
        """The verdict on a model that was not fitted on anything."""
        return self.judge([model] * len(self.folds))

    def _keeps_sizes(self, model: onnx.ModelProto) -> bool:
        """Whether inputs of other sizes give outputs of the original's shapes."""
        if not self.sizes:
            return True
        with Isolated(model) as session:
            return all(output_shapes(session, feed) == shapes for feed, shapes in self.sizes)

    def _fidelity(self, models: Sequence[onnx.ModelProto]) -> verify.Fidelity:
        judged = [judge for _, judge in self.folds]
        changed = [self.outputs(m, judge) for m, judge in zip(models, judged, strict=True)]
        labels = [samples.labels for samples in judged if samples.labels is not None]
        return verify.judge(
            _pooled(self.reference),
            _pooled(changed),
            np.concatenate(labels) if labels else None,
            counts_flips=self.ground.options.gate == "agreement",
            temperature=self.temperature,
        )

    def _outputs(self, model: onnx.ModelProto, samples: Samples) -> list[np.ndarray[Any, Any]]:
        session = open_session(model, threads=self.ground.options.threads)
        axes = self.ground.sample_axes
        return self.ground.quantities.split(verify.run(session, samples, sample_axes=axes))


def _pooled(parts: Sequence[Sequence[np.ndarray[Any, Any]]]) -> list[np.ndarray[Any, Any]]:
    return [np.concatenate(same) for same in zip(*parts, strict=True)]


def other_sizes(model: onnx.ModelProto, feed: Feed) -> tuple[tuple[Feed, Shapes], ...]:
    """Feeds of other picture sizes and batches that the model takes, and its output shapes.

    A segment adapted to one size may round another one differently; these feeds find that out.
    """
    found = []
    with Isolated(model) as session:
        for batch, high, wide in ((1, 1, 3), (2, 0, 5), (1, 7, 2)):
            resized = {
                spec.name: _resized(feed[spec.name], spec.dims or (), batch, (high, wide))
                for spec in signature.inputs(model)
            }
            shapes = output_shapes(session, resized)
            if shapes is not None:
                found.append((resized, shapes))
    return tuple(found)


def _resized(
    array: np.ndarray[Any, Any], declared: Sequence[object], batch: int, growth: tuple[int, int]
) -> np.ndarray[Any, Any]:
    """Zeros for `batch` samples, larger along the inner axes that are not declared as numbers."""
    shape = list(array.shape)
    inner = range(1, array.ndim) if declared else range(2, array.ndim)
    free = [axis for axis in inner if not declared or not isinstance(declared[axis], int)]
    for turn, axis in enumerate(free):
        shape[axis] += growth[turn % len(growth)]
    return np.zeros((batch * shape[0], *shape[1:]) if shape else (), array.dtype)


def output_shapes(session: Isolated, feed: Feed) -> Shapes | None:
    """Shapes of all outputs; None when the model does not take the feed."""
    try:
        return tuple(o.shape for o in session.run(feed))
    except InputError:
        return None
