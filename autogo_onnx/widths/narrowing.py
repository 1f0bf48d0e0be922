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
from autogo_onnx.assemble import replaced
from autogo_onnx.fitting.boundary import window_of
from autogo_onnx.fitting.elimination import Problem, dropping_order
from autogo_onnx.fitting.moments import Moments, Window, moments
from autogo_onnx.fitting.segment import LARGEST_GRAM
from autogo_onnx.ground import Ground
from autogo_onnx.refit import most_columns, refit
from autogo_onnx.rewriters.replace_segment import weight_name
from autogo_onnx.score import divergence
from autogo_onnx.step import Step
from autogo_onnx.streams import whole
from autogo_onnx.submodel import Parts
from autogo_onnx.widths.spaces import Indices, Reader, Space

ROWS_PER_COLUMN = 12
"""Positions per weight of an output that the choice of channels sees, up to those of all fits."""


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

    def __init__(self, ground: Ground, original: Activations, spaces: Sequence[Space]) -> None:
        """Prepare.

        Args:
            ground: the model.
            original: its activations on the samples to fit on.
            spaces: all.
        """
        self.ground, self.original = ground, original
        found = {r.op: refit(ground.reading, r.op) for s in spaces for r in s.readers}
        self._steps = {op: step for op, step in found.items() if step is not None}
        self._prefix, model = _exchangeable(ground.model, self._steps)
        self._parts = Parts(model)

    def candidates(
        self, space: Space, widths: Sequence[int], jury: Activations, reference: Sequence[Any]
    ) -> Iterator[tuple[Indices, float, float]]:
        """The channels that stay at every width, the readers' mean error, and the divergence.

        Args:
            space: which.
            widths: numbers of channels, each smaller than the space.
            jury: the original's activations on the samples to judge on, and
            reference: its outputs on them.
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
            yield kept, error, divergence(reference, self._outputs(space, problems, gone, jury))

    def _can_be_fitted(self, space: Space, width: int) -> bool:
        """Whether all readers see enough to be fitted to so many channels."""
        samples, rows = self.original.count, self.ground.settings.rows
        for reader in space.readers:
            lost = (space.size - width) * reader.channels.shape[1] * self._window(reader.op).points
            if self._columns(reader.op) - lost > most_columns(
                self._steps[reader.op], samples, rows
            ):
                return False
        return True

    def _outputs(
        self, space: Space, problems: Sequence[Problem], gone: Indices, jury: Activations
    ) -> list[NDArray[Any]]:
        """The model's outputs when the readers do without some channels."""
        for reader, problem in zip(space.readers, problems, strict=True):
            lost = problem.columns[gone].reshape(-1)
            rest = np.setdiff1d(np.arange(len(problem.moments.gram)), lost)
            part = problem.moments.take(rest)
            weights = np.zeros(problem.moments.cross.shape)
            weights[:, rest] = part.solution
            self._set(reader.op, weights, part.bias(part.solution))
        outputs = jury.of(self._parts).outputs_with({})
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
        source, target = (self.original.stream(n) for n in (site.inputs[0], site.outputs[0]))
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
