"""What two changes save less together than by themselves, because they shrink the same layers.

A layer's cost goes with its input channels times its output channels. So where a share `a` of the
one and `b` of the other goes, `a * b` of its cost was saved twice; and a replacement of a layer
that gets narrower saves that much less.
"""

from __future__ import annotations

from collections.abc import Sequence

from autogo_onnx.cost import op_macs
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.planning import Scored
from autogo_onnx.widths.narrowing import Narrowing


def overlaps(
    graph: OpGraph, segments: Sequence[Scored], narrowings: Sequence[Narrowing]
) -> dict[tuple[int, int], float]:
    """By the numbers of two items, segments first, then narrowings.

    Args:
        graph: the whole network.
        segments: replacements.
        narrowings: of its spaces.
    """
    cost = op_macs(graph)
    lost = [_Lost(graph, narrowing) for narrowing in narrowings]
    rates = [
        one.saving / max(1.0, sum(less.of(i) * cost[i] for i in less.layers))
        for one, less in zip(narrowings, lost, strict=True)
    ]
    first = len(segments)
    found: dict[tuple[int, int], float] = {}
    for i, a in enumerate(narrowings):
        for j, b in enumerate(narrowings[:i]):
            if a.space is not b.space:
                both = lost[i].layers & lost[j].layers
                twice = sum(lost[i].twice(lost[j], k) * cost[k] for k in both)
                if twice:
                    found[first + j, first + i] = twice * min(rates[i], rates[j])
    for k, segment in enumerate(segments):
        ops = segment.candidate.site.cut.ops
        whole = sum(cost[i] for i in ops)
        for j, less in enumerate(lost):
            touched = sum(less.of(i) * cost[i] for i in ops if i in less.layers)
            if touched:
                found[k, first + j] = segment.saving * touched / whole
    return found


class _Lost:
    """The shares of their outputs and inputs that layers lose by a narrowing."""

    def __init__(self, graph: OpGraph, narrowing: Narrowing) -> None:
        share, inputs = narrowing.share, narrowing.space.inputs(graph)
        self._outputs = dict.fromkeys(narrowing.space.outputs(), share)
        self._inputs = {op: share * part for op, part in inputs.items()}
        self.layers = self._outputs.keys() | self._inputs.keys()

    def of(self, op: int) -> float:
        """The share of a layer's cost that goes."""
        return 1.0 - (1.0 - self._outputs.get(op, 0.0)) * (1.0 - self._inputs.get(op, 0.0))

    def twice(self, other: _Lost, op: int) -> float:
        """The share of a layer's cost that goes with the outputs of one, inputs of the other."""
        one = self._outputs.get(op, 0.0) * other._inputs.get(op, 0.0)
        return one + self._inputs.get(op, 0.0) * other._outputs.get(op, 0.0)
