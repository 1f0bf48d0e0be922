"""The search: parents from the front, their children, the front anew."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from autogo_onnx.deadline import Deadline
from autogo_onnx.evolution import front
from autogo_onnx.evolution.checkpoint import Counts, State, from_bytes, to_bytes
from autogo_onnx.evolution.children import brood
from autogo_onnx.evolution.generation import distinct, kept, points
from autogo_onnx.evolution.member import KEY_BYTES, Member, base_member
from autogo_onnx.evolution.settings import Limits, Settings
from autogo_onnx.evolution.task import Space, Task
from autogo_onnx.evolution.value import Judges
from autogo_onnx.opgraph import OpGraph, to_json
from autogo_onnx.segment_db.store import Store
from autogo_onnx.segment_db.workers import ThisProcess, Workers
from autogo_onnx.work_folder import WorkFolder

_DIGEST_BYTES = 16
_SETTINGS, _LIMITS = Settings(), Limits()


@dataclass(frozen=True)
class Evolution:
    """What a search found.

    Attributes:
        base: what it started from.
        front: members that no other beats, the best predicted accuracy first.
        history: how many distinct networks were judged, the base among them.
        counts: per iteration.
    """

    base: Member
    front: tuple[Member, ...]
    history: int
    counts: tuple[Counts, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """How a search is run.

    Attributes:
        store: the segment database; None for the shipped one.
        workers: who does the work; the result is the same for all.
        watch: is told after every iteration.
        deadline: when to stop, with what there is.
        folder: where the search can go on when it is interrupted.
    """

    store: Store | None = None
    workers: Workers = field(default_factory=ThisProcess)
    watch: Callable[[Evolution], None] | None = None
    deadline: Deadline | None = None
    folder: WorkFolder | None = None

    def is_over(self) -> bool:
        """Whether time is up."""
        return self.deadline is not None and self.deadline.is_past()


_RUN = Run()


def evolve(
    base: OpGraph,
    judges: Judges,
    settings: Settings = _SETTINGS,
    limits: Limits = _LIMITS,
    run: Run = _RUN,
) -> Evolution:
    """Evolve a network into a Pareto set of others.

    The same arguments give the same result, for any number of workers, interrupted or not; only
    `Run.deadline` and the segment database make a difference.

    Args:
        base: a network or a part of one, batch normalizations folded, batch axis 1.
        judges: who decides on children.
        settings: of the search.
        limits: that all networks keep.
        run: how.

    Raises:
        InputError: the database cannot be read, or the workers are lost.
    """
    search = _Search(base, judges, settings, limits, run)
    return search.result()


class _Search:
    def __init__(
        self, base: OpGraph, judges: Judges, settings: Settings, limits: Limits, run: Run
    ) -> None:
        first = base_member(base)
        if judges.latency_ms is not None:
            first = replace(first, latency_ms=judges.latency_ms(base))
        database = run.store.path if run.store else None
        self._space = Space(first, judges, settings, limits, database)
        self._run = run
        self._part = _part_name(self._space)
        self._state = self._resumed() or State((first,), bytes.fromhex(first.key))

    def result(self) -> Evolution:
        done = len(self._state.counts)
        for iteration in range(done + 1, self._space.settings.iterations + 1):
            if self._run.is_over():
                break
            self._step(iteration)
            # An iteration that time has cut short is no place to go on from.
            if self._run.folder is not None and not self._run.is_over():
                self._run.folder.put(self._part, [to_bytes(self._state)])
            if self._run.watch is not None:
                self._run.watch(self._evolution())
        return self._evolution()

    def _step(self, iteration: int) -> None:
        """One iteration."""
        start = time.monotonic()
        state, space = self._state, self._space
        parents = state.members[: space.settings.parents]
        broods = list(self._run.workers.map(brood, self._tasks(parents, iteration)))
        fresh, doubles = distinct(broods)
        members = kept(state.members, fresh, parents, iteration, space.settings.objectives)
        seen = state.seen + b"".join(bytes.fromhex(child.key) for child in fresh)
        refused = sum((Counter(b.refused) for b in broods), Counter(seen=doubles))
        counts = Counts(
            iteration,
            len(parents),
            sum(b.sources for b in broods),
            sum(b.tried for b in broods),
            len(fresh),
            dict(sorted((+refused).items())),
            time.monotonic() - start,
        )
        self._state = State(members, seen, (*state.counts, counts))

    def _tasks(self, parents: Sequence[Member], iteration: int) -> Iterator[Task]:
        """As many as parents are wanted; where there are fewer, they get several turns."""
        for slot in range(self._space.settings.parents):
            if self._run.is_over():
                return
            parent = parents[slot % len(parents)]
            yield Task(self._space, parent, iteration, slot, self._state.seen)

    def _evolution(self) -> Evolution:
        members = self._state.members
        beaten = front.is_beaten(points(members, self._space.settings.objectives))
        unbeaten = [m for m, is_beaten in zip(members, beaten, strict=True) if not is_beaten]
        unbeaten.sort(key=lambda m: (-m.change, m.macs, m.key))
        history = len(self._state.seen) // KEY_BYTES
        return Evolution(self._space.base, tuple(unbeaten), history, self._state.counts)

    def _resumed(self) -> State | None:
        data = self._run.folder.get(self._part) if self._run.folder else None
        return from_bytes(data, self._space.base.graph) if data else None


def _part_name(space: Space) -> str:
    """Of the checkpoint: another one for another base, other settings or other limits."""
    limits = space.limits
    # Sets have no order of their own.
    sets = replace(limits, allowed=None, forbidden=frozenset(), fixed=frozenset())
    names = sorted(limits.operators), sorted(limits.fixed)
    text = f"{to_json(space.base.graph)} {space.settings} {sets} {names}"
    return "evolution-" + blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
