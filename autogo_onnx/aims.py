"""What the fit of a site aims at, in a model whose earlier sites are fitted already.

It should give what the original gives there. Where its output goes straight into a residual
addition, the aim includes the error of the other summand; and where a rectifier or another clamp
comes next, only what gets through it counts.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from autogo_onnx.activations import Activations
from autogo_onnx.fitting.importance import Importance
from autogo_onnx.fitting.rectified import Cut
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.segments import Reading, Site
from autogo_onnx.streams import Difference, Stream
from autogo_onnx.submodel import Parts


class Original(Protocol):
    """What fits aim at: tensors of the original on the samples to fit on."""

    @property
    def count(self) -> int:
        """Number of samples."""
        ...

    def stream(self, name: str) -> Stream:
        """One tensor, float[N,...]."""
        ...

    def importance(self, name: str) -> Importance | None:
        """How much errors of one tensor matter; None where it is not known."""
        ...

    def of(self, parts: Parts) -> Activations:
        """Those of another model on the same samples; nothing is known of them yet."""
        ...


@dataclass(frozen=True)
class Aim:
    """The target of a fit, and what its output is cut off by, if by anything."""

    target: Stream
    cut: Cut | None


def aim_of(
    reading: Reading,
    site: Site,
    original: Original,
    current: Activations,
    unfitted: Collection[int],
) -> Aim:
    """What a site should give; before an addition, what is left of the sum as it should be.

    Args:
        reading: of the model before anything was replaced.
        site: in it.
        original: tensors as they should be.
        current: tensors as they are.
        unfitted: operators of sites that are fitted later, so that what they give is not known.
    """
    graph, output = reading.opgraph, site.cut.outputs[0]
    partner = addition_partner(reading, site)
    if partner is not None:
        other, total = partner
        if _ancestors(graph, other).isdisjoint({*unfitted, *site.cut.ops}):
            whole = original.stream(reading.tensors[total])
            beside = current.stream(reading.tensors[other])
            return Aim(Difference(whole, beside), _cut(graph, total, whole, beside))
        return Aim(original.stream(site.outputs[0]), None)
    target = original.stream(site.outputs[0])
    return Aim(target, _cut(graph, output, target, None))


def _cut(graph: OpGraph, tensor: int, total: Stream, beside: Stream | None) -> Cut | None:
    """The clamp that is all that reads a tensor; None where there is none."""
    readers = graph.readers()[tensor]
    if tensor in graph.outputs or len(readers) != 1:
        return None
    op = graph.ops[readers[0]]
    if op.kind == "Relu":
        return Cut(total, beside, 0.0, math.inf)
    if op.kind == "Clip" and len(op.inputs) == 1:
        return Cut(total, beside, op.get("min", -math.inf), op.get("max", math.inf))
    return None


def addition_partner(reading: Reading, site: Site) -> tuple[int, int] | None:
    """(other summand, sum) as tensor numbers, when the site's only output feeds one addition."""
    graph = reading.opgraph
    output = site.cut.outputs[0]
    readers = graph.readers()[output]
    if output in graph.outputs or len(readers) != 1:
        return None
    op = graph.ops[readers[0]]
    others = [t for t in op.inputs if t != output]
    total = graph.n_inputs + readers[0]
    if op.kind != "Add" or len(others) != 1 or graph.shape(others[0]) != graph.shape(total):
        return None
    return others[0], total


def _ancestors(graph: OpGraph, tensor: int) -> set[int]:
    found: set[int] = set()
    stack = [tensor]
    while stack:
        index = graph.producer(stack.pop())
        if index is not None and index not in found:
            found.add(index)
            stack.extend(graph.ops[index].inputs)
    return found
