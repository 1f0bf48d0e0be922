"""Independent pieces of work at the same time, on threads.

NumPy and ONNX Runtime compute without the interpreter's lock, so threads are enough (what it gains:
docs/measured.md). Where there is one core, everything runs in its turn, with the same results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from types import TracebackType
from typing import Self, TypeVar

from autogo_onnx.deadline import Clock

_T = TypeVar("_T")


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(tasks: Sequence[Callable[[], _T]], *, threads: int, clock: Clock) -> list[_T]:
    """What the tasks return, in their order; as many run at a time as there are cores for.

    Args:
        tasks: none changes what another one reads.
        threads: that each of them computes on.
        clock: stopped where the user breaks the work off, so that tasks end at their deadlines.

    Raises:
        Exception: what the first of the tasks that failed raised.
    """
    at_once = min(len(tasks), max(1, cores() // threads))
    if at_once <= 1:
        return [task() for task in tasks]
    with ThreadPoolExecutor(at_once, "autogo-onnx") as pool, _stopping(clock):
        running = [pool.submit(copy_context().run, task) for task in tasks]
        return [one.result() for one in running]


@contextmanager
def _stopping(clock: Clock) -> Iterator[None]:
    """Stop the clock where the block is broken off by what is no error: Ctrl-C, or a signal."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        clock.is_stopped = True
        raise


class Beside:
    """One piece of work at a time beside the caller's own; to be used in a `with` statement.

    What it raises comes out where the caller waits for it.
    """

    def __init__(self, *, threads: int, clock: Clock) -> None:
        """Nothing runs yet.

        Args:
            threads: that either of both computes on.
            clock: stopped where the user breaks off.
        """
        self._clock = clock
        several = cores() >= 2 * threads
        self._pool = ThreadPoolExecutor(1, "autogo-onnx") if several else None
        self._running: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.wait()
            elif not issubclass(kind, Exception):
                self._clock.is_stopped = True
        finally:
            if self._pool is not None:
                self._pool.shutdown()

    def begin(self, task: Callable[[], None]) -> None:
        """Let a task run, after the one before."""
        self.wait()
        if self._pool is None:
            task()
        else:
            self._running = self._pool.submit(copy_context().run, task)

    def wait(self) -> None:
        """Until nothing runs any more."""
        running, self._running = self._running, None
        if running is not None:
            with _stopping(self._clock):
                running.result()
