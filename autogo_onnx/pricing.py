"""What a replacement saves: timed in the whole model, operator by operator.

The latency change of one site (1-3 %) drowns in noise of two per cent, and a selection by it picks
the noise. So the operators are timed, and only those count that a replacement changes. Replacements
of different layers share a model, with random weights; where a replacement may stand at several
sites that look alike, it does, and what it saves is divided among them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import onnx

from autogo_onnx import scratch
from autogo_onnx.assemble import replaced
from autogo_onnx.attribution import Timed, saved
from autogo_onnx.deadline import Deadline
from autogo_onnx.ending import PATIENCE
from autogo_onnx.given import Feed, Pace
from autogo_onnx.latency import interleave, p10
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.node_times import NodeTime, TimedSession, name_nodes
from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.runtime import open_session
from autogo_onnx.segments import Site
from autogo_onnx.step import Step
from autogo_onnx.weights import random_weights

GROUP = 12
GROUP_SECONDS = 4.0
SECONDS_PER_SESSION = 0.04
TURN_S = 4e-4
"""A session runs so long at a time, or once. Fast models run some hundred times, no more: the
profile of every run has to be read."""
FEWEST_RUNS = 7
"""Of a session: the first one, three to warm up, three rounds."""
MOST_OVERHEAD_US = 3.0
"""Timing costs a node one to two; more is what subgraphs have cost."""


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
        return self.deadline.has(self._least(models + 2))

    def _least(self, sessions: int) -> float:
        running = max(SECONDS_PER_SESSION, FEWEST_RUNS * self.pace.run_s)
        return sessions * (self.pace.open_s + running)


@dataclass(frozen=True)
class Change:
    """Something that can be done to a model.

    Attributes:
        tensors: what the layers make that it changes.
        count: at how many places it changes them.
    """

    tensors: frozenset[str]
    count: int


Maker = Callable[[Sequence[str]], tuple[onnx.ModelProto, Mapping[str, str]]]
"""Must: make a model with some changes, by their keys, none of which touches another's tensors; and
tell of every tensor in it that is new which of them made it."""


def measure_savings(
    model: onnx.ModelProto,
    changes: Mapping[str, Change],
    make: Maker,
    measure: Measure,
    table: LatencyTable,
    advance: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Enter into the table the share of the latency that each change saves at one place.

    Args:
        model: what is changed.
        changes: by key, those that matter most first.
        make: changes the model.
        measure: how.
        table: what is known already is not measured again.
        advance: told how many more are done.

    Returns:
        The keys that there was no time for.
    """
    keys = [key for key in changes if not table.knows(key)]
    advance(len(changes) - len(keys))
    models = _shared({key: changes[key] for key in keys})
    base = onnx.ModelProto()
    base.CopyFrom(model)
    name_nodes(base)
    for start in range(0, len(models), measure.group):
        some = models[start : start + measure.group]
        if not measure.has_time_for(len(some)):
            return [key for together in models[start:] for key in together]
        table.enter(_savings(base, changes, some, make, measure))
        advance(sum(map(len, some)))
    return []


def _shared(changes: Mapping[str, Change]) -> list[list[str]]:
    """Keys of changes that go into one model each, because they change different layers."""
    models: list[tuple[set[str], list[str]]] = []
    for key, change in changes.items():
        for touched, keys in models:
            if touched.isdisjoint(change.tensors):
                touched |= change.tensors
                keys.append(key)
                break
        else:
            models.append((set(change.tensors), [key]))
    return [keys for _, keys in models]


def _savings(
    base: onnx.ModelProto,
    changes: Mapping[str, Change],
    groups: Sequence[Sequence[str]],
    make: Maker,
    measure: Measure,
) -> dict[str, float]:
    """What every change of some groups saves at one place, as a share of the model's latency."""
    made = [make(keys) for keys in groups]
    for changed, _ in made:
        name_nodes(changed)
    timed, whole_us = _timed([base, *(changed for changed, _ in made)], measure)
    nodes, sum_us = max(1, len(timed[0])), sum(time.us for time in timed[0])
    overhead_us = min(MOST_OVERHEAD_US, max(0.0, sum_us - whole_us) / nodes)
    # Where other programs wait for the core, all operators take longer by the clock, alike.
    total_us = max(whole_us, sum_us - nodes * overhead_us)
    found: dict[str, float] = {}
    for keys, (changed, new), times in zip(groups, made, timed[1:], strict=True):
        owners = {name: key for key in keys for name in changes[key].tensors}
        before = Timed.of(base, timed[0], owners)
        after = Timed.of(changed, times, owners | dict(new))
        gained = saved(before, after, overhead_us)
        found |= {key: gained.get(key, 0.0) / total_us / changes[key].count for key in keys}
    return found


def _timed(
    models: Sequence[onnx.ModelProto], measure: Measure
) -> tuple[list[list[NodeTime]], float]:
    """The times of all operators of some models, and how long the first takes as a whole, in us."""
    threads, seconds = measure.threads, SECONDS_PER_SESSION * len(models)
    with scratch.short_lived() as folder:
        files = (Path(folder) / str(k) for k in range(len(models)))
        timed = [TimedSession(m, f, threads=threads) for m, f in zip(models, files, strict=True)]
        times = interleave(
            [open_session(models[0], threads=threads), *(one.session for one in timed)],
            measure.feed,
            seconds=seconds,
            seed=measure.seed,
            threads=threads,
            limit_s=PATIENCE * seconds,
            sample_s=TURN_S,
        )
        return [one.times() for one in timed], 1e3 * p10(times[0])


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


def all_replaced(
    model: onnx.ModelProto, steps: Sequence[Step], seed: int
) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The model with all of some replacements in place, with random weights.

    Returns:
        The model, and of every new tensor in it the number of the step that made it.
    """
    made, prefixes = replaced(model, steps, [random_weights(s.replacement, seed) for s in steps])
    names = [name for node in made.graph.node for name in node.output]
    new = ((name, k) for k, p in enumerate(prefixes) for name in names if name.startswith(f"{p}/"))
    return made, dict(new)


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
