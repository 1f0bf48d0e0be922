"""Every group of layers that share channels keeps one share of them: uniform channel pruning.

Which channels stay is decided as ours are, by backward elimination for all layers that read them,
and all layers behind are fitted again, so that only the widths are not chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np
import onnx

from autogo_onnx.activations import Activations
from autogo_onnx.assemble import realize
from autogo_onnx.cost import macs
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.graph import from_model
from autogo_onnx.ground import Ground
from autogo_onnx.variants.forms import rounded_widths
from autogo_onnx.widths.base import narrowed
from autogo_onnx.widths.narrowing import Narrowing, Workbench
from autogo_onnx.widths.spaces import Indices, Space, find_spaces

JURORS = 2
"""Samples that the workbench may judge by; its judgement is not asked for."""


@dataclass(frozen=True)
class Pruned:
    """A way to make all layers cheaper alike; see `uniform.Uniform`."""

    ground: Ground

    def macs(self, share: float) -> int:
        """See `Uniform`."""
        kept = {space: np.arange(_width(space, share)) for space in self._spaces}
        return macs(narrowed(self.ground, _narrowings(kept)).reading.opgraph)

    def make(self, share: float, original: Activations) -> onnx.ModelProto | None:
        """See `Uniform`."""
        base = narrowed(self.ground, _narrowings(self._kept(share, original)))
        made = realize(
            base.model,
            base.reading,
            [],
            base.targets(original),
            self.ground.settings,
            base.changed,
        )
        return None if isinstance(made, Refused) else made.model

    def _kept(self, share: float, original: Activations) -> dict[Space, Indices]:
        """The channels that stay; all of them where a layer behind is too large to be solved."""
        bench = Workbench(self.ground, original, self._spaces, JURORS)
        bench.jury = replace(bench.jury, most=inf, most_error=inf)
        found = {}
        for space in self._spaces:
            width = _width(space, share)
            if width < space.size:
                for kept, _, _ in bench.candidates(space, [width]):
                    found[space] = kept
        return found

    @cached_property
    def _spaces(self) -> tuple[Space, ...]:
        return find_spaces(from_model(self.ground.model), self.ground.reading)


def _width(space: Space, share: float) -> int:
    return min(space.size, rounded_widths(space.size, (share,))[0])


def _narrowings(kept: dict[Space, Indices]) -> list[Narrowing]:
    """Nothing is known of them but which channels stay."""
    return [
        Narrowing(space, channels, 0.0, 0.0, 0.0, (), 0, 0)
        for space, channels in kept.items()
        if len(channels) < space.size
    ]
