"""A search between two iterations as bytes, so that it can go on where it was interrupted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from autogo_onnx.evolution.edits import Edit, edited
from autogo_onnx.evolution.member import Member
from autogo_onnx.opgraph import OpGraph, from_json, to_json


@dataclass(frozen=True)
class Counts:
    """What an iteration did.

    Attributes:
        iteration: from 1.
        parents: members that were changed.
        sources: segments that were looked at.
        tried: replacements that were looked at.
        children: distinct valid networks that no iteration before had seen.
        refused: why the others are none, and how many.
        seconds: that it took.
    """

    iteration: int
    parents: int
    sources: int
    tried: int
    children: int
    refused: dict[str, int]
    seconds: float


@dataclass(frozen=True, eq=False)
class State:
    """What a search knows after an iteration.

    Attributes:
        members: those that are kept, the best first.
        seen: keys of all networks ever judged, in that order, one after the other.
        counts: per iteration.
    """

    members: tuple[Member, ...]
    seen: bytes
    counts: tuple[Counts, ...] = field(default=())


def to_bytes(state: State) -> bytes:
    """UTF-8 JSON; a member is its edits and what was counted and predicted."""
    content = {
        "members": [_member(member) for member in state.members],
        "seen": state.seen.hex(),
        "counts": [asdict(counts) for counts in state.counts],
    }
    return json.dumps(content, separators=(",", ":")).encode()


def from_bytes(data: bytes, base: OpGraph) -> State:
    """What `to_bytes` wrote of a search from the same base."""
    content = json.loads(data)
    return State(
        tuple(_from_member(one, base) for one in content["members"]),
        bytes.fromhex(content["seen"]),
        tuple(Counts(**counts) for counts in content["counts"]),
    )


_FIGURES = (
    *("key", "macs", "parameters", "latency_ms"),
    *("change", "deviation", "parent", "iteration"),
)


def _member(member: Member) -> dict[str, Any]:
    edits = [[edit.ops, to_json(edit.replacement), edit.source] for edit in member.edits]
    return {"edits": edits, **{name: getattr(member, name) for name in _FIGURES}}


def _from_member(content: dict[str, Any], base: OpGraph) -> Member:
    edits = tuple(
        Edit(tuple(ops), from_json(graph), source) for ops, graph, source in content["edits"]
    )
    return Member(edits, edited(base, edits), **{name: content[name] for name in _FIGURES})
