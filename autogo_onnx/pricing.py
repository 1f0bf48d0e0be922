"""What a replacement saves: measured in the whole model, all sites of one signature at once.

The latency change of one site (1-3 %) drowns in noise of two per cent, and a selection by it picks
the noise. All sites that look alike are therefore replaced together, with random weights, and the
change is divided among them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import onnx

from autogo_onnx.assemble import skeleton
from autogo_onnx.deadline import Deadline
from autogo_onnx.ending import PATIENCE
from autogo_onnx.given import Feed, Pace
from autogo_onnx.latency import interleave, p10
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.runtime import open_session
from autogo_onnx.segments import Site
from autogo_onnx.step import Step
from autogo_onnx.weights import random_weights

GROUP = 12
GROUP_SECONDS = 4.0
SECONDS_PER_SESSION = 0.12
FEWEST_RUNS = 5
"""Of a session: the first one, warming up, three rounds."""


@dataclass(frozen=True)
class Measure:
    """How to measure.

    Attributes:
        feed: one batch.
        threads: intra-op threads.
        seed: of the orders.
        pace: of the model.
        deadline: nothing is begun that would end after it.
    """

    feed: Feed
    threads: int = 1
    seed: int = 0
    pace: Pace = field(default_factory=Pace)
    deadline: Deadline = field(default_factory=lambda: Deadline(math.inf))

    @property
    def group(self) -> int:
        """Changed models that are measured in turns: fewer where they are slow or large."""
        return int(np.clip(GROUP_SECONDS // max(1e-9, self._least(1)), 1, GROUP))

    def has_time_for(self, models: int) -> bool:
        """Whether so many changed models can be measured before the deadline."""
        sessions = models + 1
        return self.deadline.has(max(SECONDS_PER_SESSION * sessions, self._least(sessions)))

    def _least(self, sessions: int) -> float:
        return sessions * (self.pace.open_s + FEWEST_RUNS * self.pace.run_s)


@dataclass(frozen=True)
class Change:
    """A changed model, made when it is measured, in which the same was done at `count` places."""

    make: Callable[[], onnx.ModelProto]
    count: int


def measure_savings(
    model: onnx.ModelProto,
    changes: Mapping[str, Change],
    measure: Measure,
    table: LatencyTable,
    advance: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Enter into the table the share of the latency that each change saves at one place.

    Args:
        model: what is changed.
        changes: by key, those that matter most first.
        measure: how.
        table: what is known already is not measured again.
        advance: told how many more are done.

    Returns:
        The keys that there was no time for.
    """
    keys = [key for key in changes if not table.knows(key)]
    advance(len(changes) - len(keys))
    for start in range(0, len(keys), measure.group):
        some = keys[start : start + measure.group]
        if not measure.has_time_for(len(some)):
            return keys[start:]
        models = [model, *(changes[key].make() for key in some)]
        base, *times = _p10s(models, measure)
        saved = (float(1.0 - time / base) for time in times)
        table.enter({k: share / changes[k].count for k, share in zip(some, saved, strict=True)})
        advance(len(some))
    return []


def _p10s(models: Sequence[onnx.ModelProto], measure: Measure) -> list[float]:
    sessions = [open_session(model, threads=measure.threads) for model in models]
    seconds = SECONDS_PER_SESSION * len(sessions)
    times = interleave(
        sessions,
        measure.feed,
        seconds=seconds,
        seed=measure.seed,
        threads=measure.threads,
        limit_s=PATIENCE * seconds,
    )
    return [p10(row) for row in times]


def signature(site: OpGraph, replacement: OpGraph) -> str:
    """Key of all (site, replacement) pairs that cost the same: equal graphs, pads aside."""
    text = "->".join(to_json(_without_pads(g)) for g in (site, replacement))
    return f"segment/{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _without_pads(graph: OpGraph) -> OpGraph:
    ops = tuple(
        op.with_attributes(pads=(0, 0, 0, 0)) if op.get("pads") is not None else op
        for op in graph.ops
    )
    return OpGraph(graph.input_shapes, ops, graph.op_shapes, graph.outputs)


def all_replaced(model: onnx.ModelProto, steps: Sequence[Step], seed: int) -> onnx.ModelProto:
    """The model with all of some replacements in place, with random weights."""
    return skeleton(model, steps, [random_weights(s.replacement, seed) for s in steps])


class Located(Protocol):
    """Must: say which site of the model it stands for."""

    @property
    def site(self) -> Site:
        """Its operators."""
        ...


_Located = TypeVar("_Located", bound=Located)


def disjoint(items: Sequence[_Located]) -> list[_Located]:
    """As many of some steps or candidates, in order, as do not overlap."""
    taken: set[int] = set()
    kept = []
    for item in items:
        if not taken & set(item.site.cut.ops):
            taken.update(item.site.cut.ops)
            kept.append(item)
    return kept
