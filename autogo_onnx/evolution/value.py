"""What says how good a child is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from autogo_onnx.evolution.member import Child
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.predictor import Predicted


class Value(Protocol):
    """Predicts what children change of the base's accuracy.

    Must: give the same for the same network, whatever else is asked with it and in whatever
    process; be picklable where several processes work.
    """

    def changes(self, children: Sequence[Child]) -> Predicted:
        """The change of each child against the base of the search, not against its parent."""
        ...


@dataclass(frozen=True)
class Judges:
    """Who decides on children.

    Attributes:
        value: how good one is.
        admit: whether one counts at all; None: all do. Asked before `value`, once per network.
        latency_ms: of a network or a part of one; must be additive, as `targets` are.
    """

    value: Value
    admit: Callable[[OpGraph], bool] | None = None
    latency_ms: Callable[[OpGraph], float] | None = None
