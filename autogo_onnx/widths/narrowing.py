"""What it would cost and save to take channels out of one space, at several widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from autogo_onnx.activations import Activations
from autogo_onnx.allowance import allowance
from autogo_onnx.assemble import replaced
from autogo_onnx.fitting.boundary import window_of
from autogo_onnx.fitting.elimination import Problem, dropping_order
from autogo_onnx.fitting.moments import Moments, Window, moments
from autogo_onnx.fitting.segment import LARGEST_GRAM
from autogo_onnx.ground import Ground
from autogo_onnx.options import Options
from autogo_onnx.refit import most_columns, refit
from autogo_onnx.rewriters.replace_segment import weight_name
from autogo_onnx.score import divergence
from autogo_onnx.step import Step
from autogo_onnx.streams import whole
from autogo_onnx.submodel import Parts
from autogo_onnx.widths.spaces import Indices, Reader, Space

MOST_ERROR = 0.5
"""Readers that lose more of their target's variance than this are not worth a run of the model."""
HOPELESS = 30.0
"""Times the divergence at which the gate may close: no plan takes what costs more alone."""
ROWS_PER_COLUMN = 12
"""Positions per weight of an output that the choice of channels sees, up to those of all fits."""


@dataclass(frozen=True)
class Jury:
    """What narrowings are scored on.

    Attributes:
        activations: the original's, on some samples.
        reference: its outputs on them.
        most: the divergence beyond which a narrowing is of no use.
        most_error: what readers may lose of their target's variance before anything is run.
    """

    activations: Activations
    reference: Sequence[NDArray[Any]]
    most: float
    most_error: float = MOST_ERROR

    @classmethod
    def of(cls, activations: Activations, options: Options) -> Jury:
        """A jury that has seen the original."""
        reference = activations.outputs_with({})
        return cls(activations, reference, HOPELESS * allowance(reference, options))


@dataclass(frozen=True, eq=False)
class Narrowing:
    """A space with fewer channels.

    Attributes:
        space: which.
        kept: the channels that stay, ascending.
        saving: share of the model's latency (or of what the target counts) that this saves alone.
        score: divergence of the model's outputs when this alone is done.
        nmse: by how much the readers' errors grow, on average, each a share of its target's
            variance, when this alone is done.
        names: of the layers that shrink.
        macs_delta, params_delta: what that changes, if nothing else does.
    """

    space: Space
    kept: Indices
    saving: float
    score: float
    nmse: float
    names: tuple[str, ...]
    macs_delta: int
    params_delta: int

    @property
    def by(self) -> str:
        """What happens to them."""
        return f"width {self.space.size} -> {len(self.kept)}"

    @property
    def share(self) -> float:
        """Of the channels, those that go."""
        return 1.0 - len(self.kept) / self.space.size


class Workbench:
    """The model with every reader of every space exchangeable, and moments of what they read."""

    def __init__(
        self, ground: Ground, original: Activations, spaces: Sequence[Space], judging: int
    ) -> None:
        """Prepare.

        Args:
            ground: the model.
            original: its activations on the samples to fit on.
            spaces: all.
            judging: how many of the samples are left to the jury.
        """
        self.ground = ground
        found = {r.op: refit(ground.reading, r.op) for s in spaces for r in s.readers}
        self._steps = {op: step for op, step in found.items() if step is not None}
        self._prefix, model = _exchangeable(ground.model, self._steps)
        self._parts = Parts(model)
        # At once, and before the samples are shared out: what is known is shared, too.
        sites = [step.site for step in self._steps.values()]
        original.require([name for site in sites for name in (site.inputs[0], site.outputs[0])])
        self.learning = original.after(judging)
        self.jury = Jury.of(original.first(judging), ground.options)

    def candidates(
        self, space: Space, widths: Sequence[int]
    ) -> Iterator[tuple[Indices, float, float]]:
        """The channels that stay at every width, the readers' mean error, and the divergence.

        It ends at the width that no plan would take.

        Args:
            space: which.
            widths: numbers of channels, each smaller than the space, the largest first.
        """
        if any(self._columns(reader.op) > LARGEST_GRAM for reader in space.readers):
            return
        widths = [width for width in widths if self._can_be_fitted(space, width)]
        if not widths:
            return
        problems = [Problem(self._of(r.op), self._patch(r)) for r in space.readers]
        order, errors = dropping_order(problems, space.size - min(widths))
        for width in widths:
            gone = order[: space.size - width]
            kept = np.setdiff1d(np.arange(space.size), gone)
            error = float(errors[len(gone) - 1]) / len(problems)
            if not error <= self.jury.most_error:
                return
            score = divergence(self.jury.reference, self._outputs(space, problems, gone))
            yield kept, error, score
            if not score <= self.jury.most:
                return

    def _can_be_fitted(self, space: Space, width: int) -> bool:
        """Whether all readers see enough to be fitted to so many channels."""
        samples, rows = self.learning.count, self.ground.settings.rows
        for reader in space.readers:
            lost = (space.size - width) * reader.channels.shape[1] * self._window(reader.op).points
            if self._columns(reader.op) - lost > most_columns(
                self._steps[reader.op], samples, rows
            ):
                return False
        return True

    def _outputs(
        self, space: Space, problems: Sequence[Problem], gone: Indices
    ) -> list[NDArray[Any]]:
        """The model's outputs when the readers do without some channels."""
        for reader, problem in zip(space.readers, problems, strict=True):
            lost = problem.columns[gone].reshape(-1)
            rest = np.setdiff1d(np.arange(len(problem.moments.gram)), lost)
            part = problem.moments.take(rest)
            weights = np.zeros(problem.moments.cross.shape)
            weights[:, rest] = part.solution
            self._set(reader.op, weights, part.bias(part.solution))
        refitted = {self._steps[reader.op].site.outputs[0] for reader in space.readers}
        outputs = self.jury.activations.of(self._parts, refitted).outputs_with({})
        for reader in space.readers:
            weight, bias = self._steps[reader.op].site_weights[0]
            self._set(reader.op, weight, bias)
        return outputs

    def _set(self, op: int, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        shape = self._steps[op].site_weights[0][0].shape
        for k, value in enumerate((weight.reshape(shape), bias)):
            self._parts.set_weight(weight_name(self._prefix[op], 0, k), value)

    def _columns(self, op: int) -> int:
        return prod(self._steps[op].site_weights[0][0].shape[1:])

    def _patch(self, reader: Reader) -> Indices:
        """Patch columns int[C,K] that hold each channel of the space."""
        points = self._window(reader.op).points
        columns = reader.channels[:, :, None] * points + np.arange(points)
        return columns.reshape(len(reader.channels), -1)

    def _window(self, op: int) -> Window:
        operator = self.ground.reading.opgraph.ops[op]
        return window_of(operator) if operator.kind == "Conv" else Window((1, 1))

    def _of(self, op: int) -> Moments:
        """Moments of what a layer reads with what it should give."""
        site, settings = self._steps[op].site, self.ground.settings
        source, target = (self.learning.stream(n) for n in (site.inputs[0], site.outputs[0]))
        if self.ground.reading.opgraph.ops[op].kind != "Conv":
            source, target = (whole(s)[:, :, None, None] for s in (source, target))
        rows = min(settings.rows, ROWS_PER_COLUMN * self._columns(op))
        return moments([(source, self._window(op))], target, rows=rows, seed=settings.seed)


def _exchangeable(
    model: onnx.ModelProto, steps: Mapping[int, Step]
) -> tuple[dict[int, str], onnx.ModelProto]:
    """The model with these layers' weights and biases as initializers of known names."""
    ordered = list(steps.values())
    made, prefixes = replaced(model, ordered, [dict(step.site_weights) for step in ordered])
    return dict(zip(steps, prefixes, strict=True)), made
