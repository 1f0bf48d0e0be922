"""The model with some spaces narrowed: what segments are then replaced in, and fits aim at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from autogo_onnx.activations import Activations
from autogo_onnx.fitting.importance import Importance
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.graph import from_model
from autogo_onnx.ground import Ground
from autogo_onnx.model import tensor_shapes
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segments import Reading, Site, op_weights, read, site_of
from autogo_onnx.shapes import Infeasible, adapt
from autogo_onnx.step import Step
from autogo_onnx.streams import Stream
from autogo_onnx.submodel import Parts
from autogo_onnx.widths.narrowing import Narrowing
from autogo_onnx.widths.slicing import sliced
from autogo_onnx.widths.spaces import Indices


@dataclass(frozen=True)
class Base:
    """A model with fewer channels; its weights are those of the original for what stays.

    Attributes:
        model: the model.
        reading: of it; operators and tensors are numbered and named as in the original.
        kept: of every tensor that lost channels, those that stay.
        changed: the layers that read the narrowed spaces: they have to be fitted again.
    """

    model: onnx.ModelProto
    reading: Reading
    kept: Mapping[str, Indices]
    changed: frozenset[int]

    def step(self, site: Site, replacement: OpGraph) -> Step | Refused:
        """A replacement of a site of the original, in the shapes that the site has here."""
        here = site_of(self.reading, site.cut.ops)
        shapes = here.graph.input_shapes, here.graph.output_shapes
        if shapes != (replacement.input_shapes, replacement.output_shapes):
            adapted = adapt(replacement, *shapes)
            if isinstance(adapted, Infeasible):
                return Refused(f"it does not fit narrower neighbours: {adapted.reason}")
            replacement = adapted
        weights = {k: op_weights(self.reading.nodes[i]) for k, i in enumerate(here.cut.ops)}
        return Step(here, replacement, weights)

    def targets(self, original: Activations) -> Targets:
        """What the original's tensors are, as far as they stay."""
        return Targets(original, self.kept)


def narrowed(ground: Ground, narrowings: Sequence[Narrowing]) -> Base:
    """The exactly rewritten model with some spaces narrowed, no two of them the same."""
    if not narrowings:
        return Base(ground.model, ground.reading, {}, frozenset())
    model, kept = sliced(ground.model, {n.space: n.kept for n in narrowings})
    reading = read(from_model(model), tensor_shapes(model, ground.job.input_shapes))
    return Base(model, reading, kept, frozenset(r.op for n in narrowings for r in n.space.readers))


class Targets:
    """Activations of the original that show the channels that stay only."""

    def __init__(self, original: Activations, kept: Mapping[str, Indices]) -> None:
        """Nothing is computed.

        Args:
            original: of the exactly rewritten model.
            kept: by tensor name.
        """
        self._original, self._kept = original, kept

    @property
    def count(self) -> int:
        """Number of samples."""
        return self._original.count

    def of(self, parts: Parts) -> Activations:
        """Those of another model on the same samples."""
        return self._original.of(parts)

    def stream(self, name: str) -> Stream:
        """One tensor, float[N,C,...].

        Raises:
            InputError: see `Activations.require`.
        """
        stream = self._original.stream(name)
        return _Some(stream, self._kept[name]) if name in self._kept else stream

    def importance(self, name: str) -> Importance | None:
        """How much errors of one tensor matter; None where it is not known."""
        found = self._original.importance(name)
        return found.of(self._kept[name]) if found and name in self._kept else found


@dataclass(frozen=True)
class _Some:
    """Some channels of a stream."""

    stream: Stream
    channels: Indices

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.stream.shape
        return (shape[0], len(self.channels), *shape[2:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.stream.dtype

    def __getitem__(self, samples: slice, /) -> np.ndarray[Any, Any]:
        return np.ascontiguousarray(self.stream[samples][:, self.channels])
