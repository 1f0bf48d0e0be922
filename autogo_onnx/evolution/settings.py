"""What is asked of a search: how long, from what, within which limits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from autogo_onnx.errors import InputError
from autogo_onnx.opgraph import OpGraph

MOST_JOINED = 3


class Unit(StrEnum):
    """What a change replaces: some pieces of the vocabulary, or a single operator by another."""

    SEGMENT = "segment"
    OP = "op"


class Objective(StrEnum):
    """What is traded for accuracy: the less the better."""

    MACS = "macs"
    PARAMETERS = "parameters"
    LATENCY = "latency"


@dataclass(frozen=True)
class Settings:
    """How to search. Equal settings give equal results.

    Attributes:
        iterations: rounds of parents and their children.
        parents: per iteration.
        children: wanted per parent. While there are fewer parents each gets more.
        unit: what a change replaces.
        consecutive: most pieces that are replaced together, 1 to 3.
        dropped: share of the vocabulary's pieces that each segmentation does without, 0 to 1.
        ends: whether what reads the network's inputs or makes its outputs may change too.
        objectives: what the front trades for accuracy.
        seed: of everything that is drawn.

    Raises:
        InputError: a figure is out of its range.
    """

    iterations: int = 5
    parents: int = 10
    children: int = 200
    unit: Unit = Unit.SEGMENT
    consecutive: int = MOST_JOINED
    dropped: float = 0.5
    ends: bool = False
    objectives: tuple[Objective, ...] = (Objective.MACS,)
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.iterations, self.parents, self.children) < 1:
            raise InputError("iterations, parents and children must be 1 or more")
        if not 1 <= self.consecutive <= MOST_JOINED:
            raise InputError(f"consecutive pieces are 1 to {MOST_JOINED}, not {self.consecutive}")
        if not 0 <= self.dropped < 1:
            raise InputError(f"the share of pieces left out is 0 to 1, not {self.dropped}")
        if len(set(self.objectives)) != len(self.objectives) or self.seed < 0:
            raise InputError("an objective is named twice, or the seed is negative")


# Maps in, maps out, any batch: a Reshape or a Transpose writes the number of samples into the
# model, and a BatchNormalization would be there for training only, which folds it at once.
MAPS = frozenset({
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace",
    "DepthwiseConv", "Elu", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "GroupedConv",
    "HardSigmoid", "HardSwish", "LeakyRelu", "Max", "MaxPool", "Mul", "PRelu", "Pad", "Relu",
    "Resize", "Selu", "Sigmoid", "SpaceToDepth", "Tanh",
})  # fmt: skip
"""Operators that replacements may hold where nothing else is said."""


@dataclass(frozen=True)
class Limits:
    """What every network of a search must keep. Changes are shares of the base's amount.

    Attributes:
        macs_change: least and largest change of the multiply-accumulates.
        most_parameters_change: largest change of the parameters.
        most_latency_change: largest change of the latency, where it is judged.
        allowed: operators that replacements may hold, by their ONNX types; convolutions with
            groups are `DepthwiseConv` and `GroupedConv`. None: `MAPS`.
        forbidden: of these, those that they may not.
        fixed: operators of the base, by number, that no change may touch.
    """

    macs_change: tuple[float, float] = (-0.2, 0.1)
    most_parameters_change: float = inf
    most_latency_change: float = inf
    allowed: frozenset[str] | None = None
    forbidden: frozenset[str] = frozenset()
    fixed: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        least, most = self.macs_change
        if not least <= 0 <= most:
            raise InputError(f"the base itself breaks the limit {least:g}..{most:g} on its MACs")
        if min(self.most_parameters_change, self.most_latency_change) < 0:
            raise InputError("the base itself breaks a limit below 0 on parameters or latency")

    @property
    def operators(self) -> frozenset[str]:
        """Operators that replacements may hold."""
        return (MAPS if self.allowed is None else self.allowed) - self.forbidden


def operators(graph: OpGraph) -> Collection[str]:
    """Names of a graph's operators, as `Limits` has them.

    >>> from autogo_onnx.opgraph import Op
    >>> conv = Op.make("Conv", (0,), kernel_shape=(3, 3), pads=(1, 1, 1, 1), group=8)
    >>> sorted(operators(OpGraph(((1, 8, 4, 4),), (conv,), ((1, 8, 4, 4),), (1,))))
    ['DepthwiseConv']
    """
    return {_name(graph, index) for index in range(len(graph.ops))}


def _name(graph: OpGraph, index: int) -> str:
    op = graph.ops[index]
    groups = op.get("group", 1) if op.kind == "Conv" else 1
    if groups == 1:
        return op.kind
    is_depthwise = graph.shape(op.inputs[0])[1:2] == (groups,)
    return "DepthwiseConv" if is_depthwise else "GroupedConv"
