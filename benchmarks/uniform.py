"""One share for every layer, without a search: what the textbooks do to all layers alike.

Each is made of the exactly rewritten model and fitted as our own plans are: layer by layer in
closed form, on what the layers before it really give, with the untouched layers refitted. So
only the choice of what to change differs. Widths are rounded up to multiples of eight, as ours
are: other numbers of channels are slower in ONNX Runtime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import onnx

from autogo_onnx.activations import Activations
from autogo_onnx.assemble import realize
from autogo_onnx.cost import macs
from autogo_onnx.fitting.segment import Refused
from autogo_onnx.gate import Gate, Verdict
from autogo_onnx.ground import Ground
from autogo_onnx.opgraph import Op, OpGraph, Shape
from autogo_onnx.sites import find_sites
from autogo_onnx.step import Step
from autogo_onnx.variants.forms import low_rank_at, separable_at
from benchmarks.uniform_pruning import Pruned

SHARES = tuple(k / 16 for k in range(1, 16))

Form = Callable[[float, Shape, Op, int], Iterator[OpGraph]]


class Uniform(Protocol):
    """A way to make all layers cheaper alike.

    Must:
        - cost no more multiply-accumulates at a smaller share;
        - leave inputs and outputs of the model as they are.
    """

    def macs(self, share: float) -> int:
        """Multiply-accumulates of the model at a share."""
        ...

    def make(self, share: float, original: Activations) -> onnx.ModelProto | None:
        """The model at a share, fitted on some activations; None where it cannot be fitted."""
        ...


@dataclass(frozen=True)
class LowRank:
    """Every dense convolution as two with fewer channels in between, where that is cheaper.

    `low_rank_at` is k x k -> 1 x 1 (Zhang et al., Accelerating Very Deep Convolutional Networks,
    2016), `separable_at` is k x 1 -> 1 x k (Jaderberg et al., Speeding up Convolutional Neural
    Networks with Low Rank Expansions, 2014), both fitted to activations, not to weights.
    """

    ground: Ground
    form: Form

    def macs(self, share: float) -> int:
        """See `Uniform`."""
        steps = self._steps(share)
        return self.ground.macs + sum(macs(s.replacement) - macs(s.site.graph) for s in steps)

    def make(self, share: float, original: Activations) -> onnx.ModelProto | None:
        """See `Uniform`."""
        ground = self.ground
        made = realize(ground.model, ground.reading, self._steps(share), original, ground.settings)
        return None if isinstance(made, Refused) else made.model

    def _steps(self, share: float) -> list[Step]:
        found = []
        for step in self._convolutions:
            graph = step.site.graph
            source, channels = graph.input_shapes[0], graph.op_shapes[0][1]
            made = next(self.form(share, source, graph.ops[0], channels), None)
            if made is not None and macs(made) < macs(graph):
                found.append(Step(step.site, made, step.site_weights))
        return found

    @cached_property
    def _convolutions(self) -> list[Step]:
        """Every dense two-dimensional convolution, as itself."""
        ground = self.ground
        sites = find_sites(ground.reading, [], fixed_size=ground.has_fixed_size)
        alone = (site.graph.ops[0] if len(site.cut.ops) == 1 else None for site in sites)
        return [
            ground.step(site, site.graph)
            for site, op in zip(sites, alone, strict=True)
            if op is not None and op.kind == "Conv" and op.get("group") == 1
            if len(op.get("kernel_shape")) == 2
        ]


@dataclass(frozen=True)
class Tried:
    """One share, made real: the model that would be delivered, and the gate's verdict."""

    share: float
    model: onnx.ModelProto
    verdict: Verdict


class Trials:
    """Shares of one way that were tried by now."""

    def __init__(self, way: Uniform, gate: Gate, originals: Sequence[Activations]) -> None:
        self.way, self.gate, self.originals = way, gate, originals
        self.tried: dict[float, Tried | None] = {}

    def at_macs(self, wanted: int) -> Tried | None:
        """The share that comes closest to so many multiply-accumulates."""
        return self._try(min(SHARES, key=lambda share: abs(self.way.macs(share) - wanted)))

    def cheapest_passing(self, seconds: float) -> Tried | None:
        """The smallest share that passes the gate, by bisection while there is time."""
        shares, end, longest = self._distinct(), time.monotonic() + seconds, 0.0
        low, high = 0, len(shares)  # Those from `high` on pass; the whole model does.
        while low < high and time.monotonic() + longest < end:
            start, middle = time.monotonic(), (low + high) // 2
            found = self._try(shares[middle])
            passes = found is not None and found.verdict.passes
            low, high = (low, middle) if passes else (middle + 1, high)
            longest = max(longest, time.monotonic() - start)
        return self.tried[shares[high]] if high < len(shares) else None

    def _distinct(self) -> list[float]:
        """One share per cost, the cheapest first, none that changes nothing."""
        by_macs = {self.way.macs(share): share for share in SHARES}
        by_macs.pop(self.way.macs(1.0), None)
        return [by_macs[cost] for cost in sorted(by_macs)]

    def _try(self, share: float) -> Tried | None:
        if share not in self.tried:
            models = [self.way.make(share, original) for original in self.originals]
            whole = [model for model in models if model is not None]
            self.tried[share] = (
                Tried(share, whole[0], self.gate.judge(whole))
                if len(whole) == len(models)
                else None
            )
        return self.tried[share]


WAYS: dict[str, Callable[[Ground], Uniform]] = {
    "channel pruning": Pruned,
    "low rank": lambda ground: LowRank(ground, low_rank_at),
    "separable low rank": lambda ground: LowRank(ground, separable_at),
}
