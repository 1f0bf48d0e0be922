"""A whole network, described once, after which every site in it costs what its segment costs.

One pass ahead finds the ways from the network's inputs to every tensor, one pass back those from
every tensor to its outputs; amounts are prefix sums over the operators. So predecessor and
successor of a site are read off, never cut out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import log2, prod

import numpy as np

from autogo_onnx.features import part, ways
from autogo_onnx.features.operators import AMOUNTS, pixels
from autogo_onnx.features.passes import Passes, passes_after
from autogo_onnx.features.passes import passes as passes_of
from autogo_onnx.features.ways import Vector
from autogo_onnx.opgraph import OpGraph, cut
from autogo_onnx.splice import splice

AROUND = (
    *(
        f"{name}_ops"
        for name in ("conv1x1", "conv3x3", "conv_large", "depthwise3x3", "depthwise_large")
    ),
    *("average_pool_ops", "add_ops", "activation_ops"),
    *("macs_log2", "parameters_log2", "bytes_log2", "max_channels_log2"),
)
"""Amounts of a predecessor or successor; `bytes` are those of its operators' outputs."""
_COUNTED = [AMOUNTS.index(name) for name in AROUND if name.endswith("_ops")]
_SIZES = slice(-3, None)  # macs, parameters, bytes


@dataclass(frozen=True, eq=False)
class Context:
    """A site described once: what is the same in the rows of all replacements there.

    Attributes:
        segment: the numbers of S, `part.COLUMNS`.
        predecessor, successor: amounts of P and C, `AROUND`.
        ways_before, ways_after: `ways.COLUMNS` from the network's inputs to the inputs of S, and
            from its outputs to the network's, receptive fields in pixels of the network's input.
        rest: macs, parameters and bytes of the network without S.
        scale: pixels of the network's input per pixel of the segment's, along a side.
        in_pixels_log2: of the network's largest input.
    """

    segment: Vector
    predecessor: Vector
    successor: Vector
    ways_before: Vector
    ways_after: Vector
    rest: Vector
    scale: float
    in_pixels_log2: float


@dataclass(frozen=True)
class _Place:
    """A segment, its boundary in the network, its operators and the first operator behind it."""

    graph: OpGraph
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ops: tuple[int, ...]
    end: int


class Network:
    """The features of a network's sites.

    Args:
        graph: the network, its operators in topological order.
        passes: over the graph, where they are known.
    """

    def __init__(self, graph: OpGraph, passes: Passes | None = None) -> None:
        self.graph = graph
        self._passes = passes or passes_of(graph)
        self._facts = self._passes.facts
        self._side = part.side(graph)
        self._amounts = np.zeros((len(graph.ops) + 1, len(AMOUNTS)))
        if graph.ops:
            each = np.concatenate([fact.amounts for fact in self._facts])
            self._amounts[1:] = each.reshape(-1, len(AMOUNTS)).cumsum(axis=0)
        widths = np.array([0, *(fact.channels for fact in self._facts), 0], np.float64)
        self._widest_before = np.maximum.accumulate(widths[:-1])
        self._widest_after = np.maximum.accumulate(widths[:0:-1])[::-1]

    def site(self, ops: Collection[int]) -> Context:
        """The context of the segment of some operators, at least one.

        The predecessor is every other operator before the segment's last in the network's order,
        the successor every operator after it. Ways go from the network's inputs to the segment's
        input tensors and from its output tensors to the network's outputs; a way around the
        segment is on none of them.
        """
        found = cut(self.graph, ops, self._passes.readers)
        place = _Place(found.graph, found.inputs, found.outputs, found.ops, found.ops[-1] + 1)
        return self._context(place)

    def site_at(self, tensor: int) -> Context:
        """The context of an empty segment: of an identity between a tensor and all its readers."""
        nothing = OpGraph((self.graph.shape(tensor),), (), (), (0,))
        end = max(0, tensor - self.graph.n_inputs + 1)
        return self._context(_Place(nothing, (tensor,), (tensor,), (), end))

    def replaced(self, ops: Collection[int], replacement: OpGraph) -> Network:
        """The network with a segment replaced, described again only where that changes anything.

        Args:
            ops: the segment's operators, at least one; no way leaves them and comes back.
            replacement: a graph with the segment's boundary.
        """
        part_of = cut(self.graph, ops, self._passes.readers)
        edit = splice(self.graph, part_of, replacement)
        return Network(edit.graph, passes_after(self._passes, part_of, edit))

    def _context(self, place: _Place) -> Context:
        facts = [self._facts[i] for i in place.ops]
        segment = part.describe(place.graph, facts)
        inside = sum((fact.amounts for fact in facts), np.zeros(len(AMOUNTS)))
        ahead = self._amounts[place.end] - inside
        behind = self._amounts[-1] - self._amounts[place.end]
        rest = (ahead + behind)[_SIZES]
        rest[-1] += self._in_bytes() - 4 * sum(map(prod, place.graph.input_shapes))
        after = ways.meet([self._passes.ways_from(t, place.ops) for t in place.outputs])
        before = ways.meet([self._passes.ahead[t] for t in place.inputs])
        side = part.side(place.graph)
        return Context(
            segment=segment,
            predecessor=_around(ahead, self._widest_beside(place)),
            successor=_around(behind, float(self._widest_after[place.end])),
            ways_before=ways.in_sides(ways.numbers(before), self._side),
            ways_after=ways.in_sides(ways.numbers(after), self._side),
            rest=rest,
            scale=self._side / side if side else 1.0,
            in_pixels_log2=log2(1 + max(map(pixels, self.graph.input_shapes), default=0)),
        )

    def _widest_beside(self, place: _Place) -> float:
        """Channels of the widest operator of the predecessor."""
        begin, members = place.ops[0] if place.ops else place.end, set(place.ops)
        beside = [self._facts[i].channels for i in range(begin, place.end) if i not in members]
        return max(float(self._widest_before[begin]), *beside, 0.0)

    def _in_bytes(self) -> int:
        return 4 * sum(map(prod, self.graph.input_shapes))


def _around(amounts: Vector, widest: float) -> Vector:
    return np.concatenate([amounts[_COUNTED], np.log2(1 + np.array([*amounts[_SIZES], widest]))])
