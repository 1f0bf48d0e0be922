"""Paired latency: sessions take turns in random order, so that the machine's moods hit all alike.

Primary figure: the 10th percentile of a session's rounds, the speed when nothing disturbs, as a
ratio between sessions of one measurement. Milliseconds of different measurements do not compare.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from autogo_onnx import runtime
from autogo_onnx.latency_table import LatencyTable as LatencyTable
from autogo_onnx.messages import refers_to_files

MIN_ROUNDS = 30
"""Fewer rounds leave three values at or below the 10th percentile."""
_PATIENCE = 4.0  # Slow models stop here, in multiples of the wanted seconds, however few rounds.
_FEWEST_ROUNDS = 8
_FEWEST_ROUNDS_AT_LIMIT = 3
_WARM_UP_RUNS = 3
_SAMPLE_S = 1e-3  # A sample shorter than this is mostly clock and cache noise: runs are grouped.
_SLOW_S = 0.05  # A longer run needs no second one before the measurement.
_MAX_GROUP = 1000
_RESAMPLES = 400
_BOUND_PERCENT = 95.0

Clock = Callable[[], float]


@dataclass(frozen=True)
class Paired:
    """Latency of a changed model `b` against the original `a`, measured together.

    Attributes:
        ratio_p10: p10(b) / p10(a); the primary figure.
        ratio_median: median over rounds of b / a (geometric mean over the two sessions of a).
        noise: share below which a difference means nothing: 95 % bound from a second session of
            `a` and from resampling the rounds.
        ms_a, ms_b: p10 in milliseconds.
        rounds: how often each session was sampled.
        threads: intra-op threads; with 1 it is CPU time of the thread, else wall time.
        onnxruntime: its version.
    """

    ratio_p10: float
    ratio_median: float
    noise: float
    ms_a: float
    ms_b: float
    rounds: int
    threads: int
    onnxruntime: str

    @property
    def is_faster(self) -> bool:
        """Whether b is faster beyond the noise."""
        return self.ratio_p10 < 1 - self.noise

    @property
    def is_slower(self) -> bool:
        """Whether b is slower beyond the noise."""
        return self.ratio_p10 > 1 + self.noise


def interleave(
    sessions: Sequence[ort.InferenceSession],
    feed: Mapping[str, np.ndarray],
    *,
    seconds: float,
    seed: int,
    threads: int,
    limit_s: float = math.inf,
    sample_s: float = _SAMPLE_S,
) -> np.ndarray:
    """Time sessions in turns, in a new random order each round.

    Args:
        sessions: opened with `threads` intra-op threads.
        feed: one feed for all of them.
        seconds: wall time to spend; MIN_ROUNDS are done even if that takes up to four times longer.
        seed: of the orders.
        threads: 1 takes the CPU time of the calling thread, which does all the work then and does
            not count what other processes take; more take wall time.
        limit_s: wall time after which three rounds are enough.
        sample_s: so long a session runs at a time, or once.

    Returns:
        float64[sessions, rounds], milliseconds per run.

    Raises:
        InputError: a session does not run on the feed.
    """
    inputs = dict(feed)
    for session in sessions:
        runtime.run(session, None, inputs)
    runs = [_runner(session, inputs) for session in sessions]
    clock = time.thread_time if threads == 1 else time.perf_counter
    return take_turns(
        runs, seconds=seconds, seed=seed, clock=clock, limit_s=limit_s, sample_s=sample_s
    )


def take_turns(
    runs: Sequence[Callable[[], object]],
    *,
    seconds: float,
    seed: int,
    clock: Clock,
    wall: Clock = time.perf_counter,
    limit_s: float = math.inf,
    sample_s: float = _SAMPLE_S,
) -> np.ndarray:
    """The measurement behind `interleave`, of any callables and with any clocks.

    Returns:
        float64[runs, rounds], milliseconds per call.
    """
    group = _warm_up(runs, clock, sample_s)
    rng = np.random.default_rng(seed)
    rounds: list[np.ndarray] = []
    start = wall()
    while not _is_enough(len(rounds), wall() - start, seconds, limit_s):
        times = np.empty(len(runs))
        for index in rng.permutation(len(runs)):
            times[index] = _timed(runs[index], group, clock)
        rounds.append(times)
    return np.stack(rounds, axis=1) * 1e3


def compare(
    a: onnx.ModelProto | Path,
    b: onnx.ModelProto | Path,
    feed: Mapping[str, np.ndarray],
    *,
    seconds: float = 5.0,
    seed: int = 0,
    threads: int = 1,
    limit_s: float = math.inf,
) -> Paired:
    """Latency of `b` against `a`, both with all of ONNX Runtime's optimizations.

    Models that refer to their weights are too large to be open together; they are measured one
    after the other, `b` between two turns of `a`, so that a drift shows in the noise bound.

    Raises:
        InputError: a model does not load, or does not run on the feed.
    """

    def timed(*models: onnx.ModelProto | Path, share: float = 1.0) -> np.ndarray:
        sessions = [runtime.open_session(model, threads=threads) for model in models]
        return interleave(
            sessions,
            feed,
            seconds=share * seconds,
            seed=seed,
            threads=threads,
            limit_s=share * limit_s,
        )

    if any(isinstance(m, onnx.ModelProto) and refers_to_files(m) for m in (a, b)):
        first, changed, again = (timed(model, share=1 / 3)[0] for model in (a, b, a))
        rounds = min(map(len, (first, again, changed)))
        times = np.stack([first[:rounds], again[:rounds], changed[:rounds]])
    else:
        times = timed(a, a, b)
    return judge(times, threads=threads, seed=seed)


def judge(times: np.ndarray, *, threads: int, seed: int) -> Paired:
    """Figures from the milliseconds of a, a again, and b.

    Args:
        times: float64[3, rounds].
        threads: what the sessions were opened with.
        seed: of the resampling.
    """
    a, again, b = (p10(row) for row in times)
    base = (a + again) / 2
    return Paired(
        ratio_p10=b / base,
        ratio_median=float(np.sqrt(np.prod(np.median(times[2] / times[:2], axis=1)))),
        noise=_noise(times, seed),
        ms_a=base,
        ms_b=b,
        rounds=times.shape[1],
        threads=threads,
        onnxruntime=runtime.version(),
    )


def p10(times: np.ndarray) -> float:
    """The 10th percentile of some times."""
    return float(np.percentile(times, 10))


def _runner(session: ort.InferenceSession, feed: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: session.run(None, feed)


def _warm_up(runs: Sequence[Callable[[], object]], clock: Clock, sample_s: float) -> int:
    """Let caches and arenas settle; how many calls of the fastest make up one sample."""
    fastest = min(_settled(run, clock) for run in runs)
    return int(np.clip(np.ceil(sample_s / max(fastest, 1e-9)), 1, _MAX_GROUP))


def _settled(run: Callable[[], object], clock: Clock) -> float:
    """Seconds per call after some calls, or after one that takes long."""
    fastest = math.inf
    for _ in range(_WARM_UP_RUNS):
        fastest = min(fastest, _timed(run, 1, clock))
        if fastest > _SLOW_S:
            break
    return fastest


def _timed(run: Callable[[], object], group: int, clock: Clock) -> float:
    """Seconds per call over a group of calls."""
    start = clock()
    for _ in range(group):
        run()
    return (clock() - start) / group


def _is_enough(rounds: int, elapsed_s: float, seconds: float, limit_s: float) -> bool:
    if elapsed_s >= limit_s and rounds >= _FEWEST_ROUNDS_AT_LIMIT:
        return True
    if elapsed_s >= _PATIENCE * seconds and rounds >= _FEWEST_ROUNDS:
        return True
    return elapsed_s >= seconds and rounds >= MIN_ROUNDS


def _noise(times: np.ndarray, seed: int) -> float:
    """The larger of two 95 % bounds, as a share of the ratio, over resampled rounds.

    A/A: how far from 1 two sessions of the same model are, which holds their systematic
    difference (memory placement) too. A/B: how far the ratio strays from its own value.
    """
    rng = np.random.default_rng(seed)
    rounds = times.shape[1]
    picks = rng.integers(0, rounds, (_RESAMPLES, rounds))
    a, again, b = np.percentile(times[:, picks], 10, axis=2)
    ratio = b / ((a + again) / 2)
    strays = np.abs(ratio / np.median(ratio) - 1)
    return float(
        max(
            np.percentile(np.abs(again / a - 1), _BOUND_PERCENT),
            np.percentile(strays, _BOUND_PERCENT),
        )
    )
