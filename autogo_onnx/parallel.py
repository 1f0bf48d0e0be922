"""Independent pieces of work at the same time, on threads.

NumPy and ONNX Runtime compute without the interpreter's lock, so threads are enough (what it gains:
docs/measured.md). Where there is one core, everything runs in its turn, with the same results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from typing import TypeVar

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
    except BaseException as reason:
        clock.is_stopped = clock.is_stopped or not isinstance(reason, Exception)
        raise


@contextmanager
def beside(*, threads: int, clock: Clock) -> Iterator[Beside]:
    """Lets work go on beside that of the block, which ends when both have.

    Args:
        threads: that either of both computes on.
        clock: stopped where the user breaks off.
    """
    with ExitStack() as stack:
        pool = None
        if cores() >= 2 * threads:
            pool = stack.enter_context(ThreadPoolExecutor(1, "autogo-onnx"))
        stack.enter_context(_stopping(clock))
        work = Beside(pool)
        yield work
        work.wait()


class Beside:
    """One piece of work at a time, beside the caller's own; see `beside`.

    What it raises comes out where the caller waits for it.
    """

    def __init__(self, pool: ThreadPoolExecutor | None) -> None:
        """Nothing runs yet; without a pool, work is done when it begins."""
        self._pool = pool
        self._running: Future[None] | None = None

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
            running.result()
