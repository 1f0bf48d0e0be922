"""The children of one parent: drawn, checked against the limits, admitted and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.random import Generator

from autogo_onnx import cost
from autogo_onnx.evolution.edits import Edit, origins
from autogo_onnx.evolution.member import KEY_BYTES, Child, Judged
from autogo_onnx.evolution.replacements import Replacements
from autogo_onnx.evolution.sources import Sources
from autogo_onnx.evolution.task import Brood, Task
from autogo_onnx.opgraph import Cut, OpGraph
from autogo_onnx.segment_db.store import Store, open_store
from autogo_onnx.segment_db.vocabulary import Vocabulary

PER_SOURCE = 20
# Replacements looked at per child that is wanted, before it is given up.
MOST_TRIED = 10
# Segmentations without a single replacement, one after the other, before all is given up.
MOST_BARREN = 3


def brood(task: Task) -> Brood:
    """Draw and judge the children of a parent; the same for equal tasks in every process."""
    return _Breeding(task).result()


class _Breeding:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._space, self._parent = task.space, task.parent
        self._settings = task.space.settings
        store, vocabulary = _opened(task.space.database)
        limits = task.space.limits
        was = origins(task.space.base.graph, self._parent.edits) if limits.fixed else ()
        fixed = frozenset(index for index, origin in enumerate(was) if origin in limits.fixed)
        self._sources = Sources(self._parent.graph, vocabulary, self._settings, fixed)
        self._replacements = Replacements(store, self._settings, task.space.limits)
        self._seen = _split(task.seen)
        self._idle = _idle(self._parent.graph)
        self._refused: Counter[str] = Counter()
        self._n_sources = self._n_tried = 0
        self._most = MOST_TRIED * self._settings.children

    def result(self) -> Brood:
        settings, task = self._settings, self._task
        generator = np.random.default_rng([settings.seed, task.iteration, task.slot])
        found: list[Child] = []
        for child in self._children(generator):
            found.append(child)
            if len(found) == settings.children:
                break
        judged = self._space.judges.value.changes(found)
        means, deviations = judged.mean.tolist(), judged.deviation.tolist()
        children = tuple(
            Judged(task.slot, c.edit, c.key, c.macs, c.parameters, c.latency_ms, mean, deviation)
            for c, mean, deviation in zip(found, means, deviations, strict=True)
        )
        return Brood(children, self._n_sources, self._n_tried, dict(sorted(self._refused.items())))

    def _children(self, generator: Generator) -> Iterator[Child]:
        """Valid children, none twice, until enough was tried."""
        barren = 0
        while barren < MOST_BARREN and (sources := self._sources.draw(generator)):
            before = self._n_tried
            for source in sources:
                self._n_sources += 1
                yield from islice(self._of_source(source, generator), PER_SOURCE)
                if self._n_tried == self._most:
                    return
            barren = 0 if self._n_tried > before else barren + 1

    def _of_source(self, source: Cut, generator: Generator) -> Iterator[Child]:
        for name, graph in self._drawn(source, generator):
            if self._n_tried == self._most:
                return
            self._n_tried += 1
            child = self._child(source, name, graph)
            if child is not None:
                yield child

    def _drawn(self, source: Cut, generator: Generator) -> Iterator[tuple[str, OpGraph | None]]:
        rest = self._parent.macs - cost.macs(source.graph)
        most = (1 + self._space.limits.macs_change[1]) * self._space.base.macs
        return self._replacements.draw(source.graph, most - rest, generator)

    def _child(self, source: Cut, name: str, graph: OpGraph | None) -> Child | None:
        """The child by a replacement; None, and why is counted, where it is none."""
        child = None if graph is None else self._made(source, Edit(source.ops, graph, name))
        refusal = "shapes" if child is None else self._refusal(child)
        if refusal:
            self._refused[refusal] += 1
            return None
        return child

    def _refusal(self, child: Child) -> str:
        """Why a network does not count; "" where it does. What costs least is looked at first."""
        if not self._space.allows(child):
            return "limits"
        if _idle(child.graph) > self._idle:
            return "idle operators"
        if child.key in self._seen:
            return "seen"
        self._seen.add(child.key)
        admit = self._space.judges.admit
        return "" if admit is None or admit(child.graph) else "not admitted"

    def _made(self, source: Cut, edit: Edit) -> Child:
        """What is counted is additive, so the rest of the network is not counted again."""
        parent, latency = self._parent, None
        of = self._space.judges.latency_ms
        if of is not None and parent.latency_ms is not None:
            latency = parent.latency_ms - of(source.graph) + of(edit.replacement)
        return Child(
            parent,
            edit,
            parent.macs - cost.macs(source.graph) + cost.macs(edit.replacement),
            parent.parameters - cost.parameters(source.graph) + cost.parameters(edit.replacement),
            latency,
        )


def _idle(graph: OpGraph) -> int:
    """Operators that change nothing: such hide equal networks.

    Those that nothing reads, rectifiers right behind another, and inputs that are outputs.
    """
    first, used = graph.n_inputs, {tensor for op in graph.ops for tensor in op.inputs}
    repeated = sum(
        op.kind == "Relu"
        and op.inputs[0] >= first
        and graph.ops[op.inputs[0] - first].kind == "Relu"
        for op in graph.ops
    )
    unread = graph.n_tensors - len(used.union(graph.outputs))
    return repeated + unread + sum(tensor < first for tensor in graph.outputs)


def _split(keys: bytes) -> set[str]:
    text, digits = keys.hex(), 2 * KEY_BYTES
    return {text[start : start + digits] for start in range(0, len(text), digits)}


@lru_cache(maxsize=1)
def _opened(database: Path | None) -> tuple[Store, Vocabulary]:
    """The database, opened once per process."""
    store = open_store(database)
    return store, store.vocabulary()
