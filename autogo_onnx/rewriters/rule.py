"""What a rewrite rule is: it finds places, says where it refuses and why, and edits one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

import onnx_graphsurgeon as gs

from autogo_onnx.rewriters.view import View


class Safety(Enum):
    """How far a rule may change what the model computes."""

    EXACT = "exact"
    """The same function in real arithmetic; only the last bits may differ."""
    FITTED = "fitted"
    """Another function that is close on the calibration samples."""


@dataclass(frozen=True)
class Match:
    """One place where a rule applies: the nodes that it reads or edits.

    A rule that has computed something worth keeping derives its own match from this one.
    """

    nodes: tuple[gs.Node, ...]


@dataclass(frozen=True)
class Skip:
    """A place that was left alone: its nodes (none: the whole model), a reason to read, by whom."""

    nodes: tuple[gs.Node, ...]
    reason: str
    rule: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes; a nameless node goes by its first output."""
        return tuple(node.name or node.outputs[0].name for node in self.nodes)


@dataclass(frozen=True)
class Rule:
    """A named rewrite.

    Must: `find` changes nothing; `apply` edits one match and leaves every other match of the same
    `find` valid that shares no node with it; nodes that `apply` makes useless are disconnected; a
    tensor that keeps its name keeps its value, but for an initializer that nobody else reads; a
    second run on the result finds nothing.

    Attributes:
        name: a verb and what it acts on; the name of its module.
        safety: how far it may change what is computed.
        find: yields the places where it applies and those where it refuses.
        apply: edits the graph at one match.
        on_trial: it does not pay everywhere: a model keeps it only where that was measured.
    """

    name: str
    safety: Safety
    find: Callable[[View], Iterator[Match | Skip]]
    apply: Callable[[View, Match], None]
    on_trial: bool = False
