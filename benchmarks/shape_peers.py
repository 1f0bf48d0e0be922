"""Our way to adapt a segment beside pyomo: time and success over the same random pairs."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

from autogo_onnx.segment_db.store import open_store
from autogo_onnx.shapes import Infeasible, adapt, direct, level_model
from autogo_onnx.shapes.problem import Problem, Solution, cost
from benchmarks import shapes_pyomo, shapes_reference
from benchmarks.pyomo_solving import SOLVERS, Refused, optimum
from benchmarks.shape_pairs import Pair, measured, places, sample, segments

OURS, SAME = "ours", "same problem"
REFERENCE = {"reference": False, "reference without its guard": True}
FITS = "fits"
NO_ANSWER = ("infeasible", "no answer in time")
# Two objective values agree when they differ by less than the smallest step between them.
_TOLERANCE = 0.5
_MAX_SECONDS = 10.0


@dataclass(frozen=True)
class Attempt:
    """One way tried on one pair.

    Attributes:
        result: `fits`, or why there is no answer.
        ms, wall_ms: processor time with child processes, and time by the clock, in milliseconds.
        agrees: whether every objective value is ours, where the problem is the same.
    """

    result: str
    ms: float
    wall_ms: float
    agrees: bool = True


@dataclass(frozen=True)
class Trial:
    """All ways tried on one pair."""

    needs_solver: bool
    attempts: dict[str, Attempt]


def compare(path: Path | None, number: int) -> list[Trial]:
    """Try all ways on random pairs of maps, half of which need the solver."""
    store = open_store(path)
    where = [place for place in places(store) if place.is_of_maps]
    left = {False: number - number // 2, True: number // 2}
    trials = []
    for pair in sample(where, segments(store, where), seed=0):
        wall, outcome = time.perf_counter(), measured(pair)  # first, nothing being cached
        wall_ms = 1000 * (time.perf_counter() - wall)
        needs_solver = outcome.solver_calls > 0
        if left[needs_solver]:
            left[needs_solver] -= 1
            ours = Attempt(FITS if outcome.fits else NO_ANSWER[0], outcome.ms, wall_ms)
            trials.append(Trial(needs_solver, {OURS: ours, **_others(pair)}))
        if not any(left.values()):
            break
    return trials


def lines(trials: Sequence[Trial]) -> Iterator[str]:
    """Tables in Markdown for the pairs without solver and for those with it."""
    for needs_solver in (False, True):
        chosen = [t for t in trials if t.needs_solver == needs_solver]
        yield f"\n{len(chosen)} pairs, {'with' if needs_solver else 'without'} the solver\n"
        yield "| way | fit | solved | CPU, ms | times ours | wall, ms | our optimum |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        for way in chosen[0].attempts:
            yield _row(way, chosen)
    yield "\n| reference | pairs |\n| --- | --- |"
    results = Counter(t.attempts[_name("reference", SOLVERS[0])].result for t in trials)
    for result, count in results.most_common():
        yield f"| {result} | {count} |"


def _row(way: str, trials: Sequence[Trial]) -> str:
    """Times are means over the pairs for which the way comes to a program, ours over the same."""
    tried = [t for t in trials if t.attempts[way].result in (FITS, *NO_ANSWER)]
    fits = sum(t.attempts[way].result == FITS for t in trials)
    share = f"{100 * fits / len(trials):.0f} %"
    if not tried:
        return f"| {way} | {share} | 0 | | | | |"
    ms, wall_ms, ours = (
        sum(values) / len(tried)
        for values in (
            [t.attempts[way].ms for t in tried],
            [t.attempts[way].wall_ms for t in tried],
            [t.attempts[OURS].ms for t in tried],
        )
    )
    agrees = sum(t.attempts[way].agrees for t in tried) if way.startswith(SAME) else ""
    cells = (share, len(tried), f"{ms:.1f}", f"{ms / ours:.1f}", f"{wall_ms:.1f}", agrees)
    return f"| {way} | {' | '.join(map(str, cells))} |"


def _name(way: str, solver: str) -> str:
    return f"{way}, pyomo + {solver}"


def _others(pair: Pair) -> dict[str, Attempt]:
    inputs, outputs = pair.place.inputs, pair.place.outputs
    answers: list[Solution | Infeasible] = []
    directly = direct.solve

    def ours(problem: Problem) -> Solution | Infeasible:
        answers.append(directly(problem) or level_model.solve(problem, _MAX_SECONDS))
        return answers[-1]

    attempts: dict[str, Attempt] = {}
    with patch.object(direct, "solve", ours):
        _adapt(pair)
    for solver in SOLVERS:
        peer = _Peer(answers, solver)
        with patch.object(direct, "solve", peer.solve):
            attempt = _timed(partial(_adapt, pair))
        attempts[_name(SAME, solver)] = replace(attempt, agrees=peer.agrees)
    for (way, joins), solver in product(REFERENCE.items(), SOLVERS):
        program = partial(shapes_reference.model, pair.segment, inputs, outputs, joins=joins)
        attempts[_name(way, solver)] = _timed(partial(_optimize, program, solver))
    return attempts


class _Peer:
    """Solves our problems with pyomo, and compares the optimum with ours, which it returns.

    Args:
        answers: ours, in the order in which the problems come.
        solver: of pyomo's.
    """

    def __init__(self, answers: Sequence[Solution | Infeasible], solver: str) -> None:
        self._answers = iter(answers)
        self._solver = solver
        self.agrees = True

    def solve(self, problem: Problem) -> Solution | Infeasible:
        """Our answer, after pyomo's solver has found its own."""
        known = next(self._answers)
        try:
            value = optimum(shapes_pyomo.model(problem), self._solver)
        except Refused:
            self.agrees &= isinstance(known, Infeasible)
        else:
            self.agrees &= (
                isinstance(known, Solution) and abs(value - cost(problem, known)) < _TOLERANCE
            )
        return known


def _adapt(pair: Pair) -> str:
    graph = adapt(pair.segment, pair.place.inputs, pair.place.outputs)
    return NO_ANSWER[0] if isinstance(graph, Infeasible) else FITS


def _optimize(program: Callable[[], Any], solver: str) -> str:
    try:
        optimum(program(), solver)
    except Refused as refused:
        return str(refused)
    return FITS


def _timed(run: Callable[[], str]) -> Attempt:
    wall, start = time.perf_counter(), _cpu_seconds()
    result = run()
    return Attempt(result, 1000 * (_cpu_seconds() - start), 1000 * (time.perf_counter() - wall))


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
