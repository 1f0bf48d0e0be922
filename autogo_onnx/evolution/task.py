"""A parent whose children are wanted, and what became of it: what goes to a process and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from autogo_onnx.evolution.member import Child, Judged, Member
from autogo_onnx.evolution.settings import Limits, Settings
from autogo_onnx.evolution.value import Judges


@dataclass(frozen=True, eq=False)
class Space:
    """What all parents of a search share.

    Attributes:
        base: the network that it starts from.
        judges, settings, limits: of the search.
        database: the file of segments; None for the shipped one.
    """

    base: Member
    judges: Judges
    settings: Settings
    limits: Limits
    database: Path | None

    def allows(self, child: Child) -> bool:
        """Whether a child is within the limits."""
        least, most = self.limits.macs_change
        base, limits = self.base, self.limits
        return (
            (1 + least) * base.macs <= child.macs <= (1 + most) * base.macs
            and child.parameters <= (1 + limits.most_parameters_change) * base.parameters
            and (child.latency_ms or 0) <= (1 + limits.most_latency_change) * self._latency()
        )

    def _latency(self) -> float:
        return inf if self.base.latency_ms is None else self.base.latency_ms


@dataclass(frozen=True, eq=False)
class Task:
    """A parent whose children are wanted.

    Attributes:
        space: of the search.
        parent: a member.
        iteration, slot: which draw of which iteration this is: they seed it.
        seen: keys of all networks that are known already, one after the other.
    """

    space: Space
    parent: Member
    iteration: int
    slot: int
    seen: bytes


@dataclass(frozen=True)
class Brood:
    """What became of a task.

    Attributes:
        children: distinct valid ones.
        sources: segments that were looked at.
        tried: replacements that were looked at.
        refused: why others are no children, and how many.
    """

    children: tuple[Judged, ...]
    sources: int
    tried: int
    refused: Mapping[str, int]
