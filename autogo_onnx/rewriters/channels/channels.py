"""Channels that travel together: which tensors share them, who makes them and who sums them up.

A *space* is a set of tensors with the same channels in the same order: the output of a layer, what
activations, pools and additions make of it, and the inputs of the layers that sum over it. To drop
a channel, all tensors of its space must drop it. Concat, Split and Flatten link spaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from autogo_onnx.rewriters.patterns.layout import Channels

UNARY = (
    *("Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu"),
    *("Softplus", "Softsign", "Clip", "Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal", "Erf"),
    *("Identity", "Gelu", "Mish", "Swish", "ThresholdedRelu", "Floor", "Ceil", "Round"),
)
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu", "Sum", "Mean")
POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin")


@dataclass(frozen=True)
class Link:
    """Channel `c` of the small space is channels `offset + c * repeat + (0..repeat)` of the big."""

    small: str
    big: str
    offset: int
    repeat: int


@dataclass
class Spaces:
    """The channels of a whole graph.

    Attributes:
        places: of every tensor with channels that are followed.
        makers: layers whose output channels are a space's, by name of the output.
        sinks: layers that sum over a space, with the name of their input.
        steps: nodes in between, in order.
        links: between spaces, by the big tensor.
        foreign: stretches of a tensor's channels that nobody can drop: name, begin, end.
        reads: the reader and the name of every tensor whose reading was understood or led to a pin.
        pinned: why a space, by the name of one of its tensors, must stay as it is.
    """

    places: dict[str, Channels] = field(default_factory=dict)
    makers: dict[str, gs.Node] = field(default_factory=dict)
    sinks: list[tuple[str, gs.Node]] = field(default_factory=list)
    steps: list[gs.Node] = field(default_factory=list)
    links: dict[str, list[Link]] = field(default_factory=dict)
    foreign: list[tuple[str, int, int]] = field(default_factory=list)
    reads: set[tuple[int, str]] = field(default_factory=set)
    pinned: dict[str, str] = field(default_factory=dict)
    _parents: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """The space of a tensor, named after one of its tensors."""
        root = name
        while (parent := self._parents.get(root, root)) != root:
            root = parent
        while name != root:
            self._parents[name], name = root, self._parents.get(name, name)
        return root

    def link(self, link: Link) -> None:
        """Remember a link."""
        self.links.setdefault(link.big, []).append(link)

    def pin(self, names: Iterable[str], reason: str) -> None:
        """Leave the spaces of these tensors as they are."""
        for name in names:
            self.pinned.setdefault(name, reason)

    def join(self, names: Iterable[str]) -> None:
        """Make one space of those of these tensors."""
        first, *others = map(self.of, names)
        for other in others:
            self._parents[self.of(other)] = self.of(first)
