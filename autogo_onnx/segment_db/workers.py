"""Who does the work: this process, some processes of this machine, or a cluster of machines.

Functions are module-level ones of this package and items are text, bytes and numbers, so that any
process that has the package can do any item.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from autogo_onnx.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# Items in flight per process: enough that none ever waits, few enough to be held in memory.
_AHEAD = 2
_PATIENCE_S = 30
_WATCH_S = 1.0


class Workers(Protocol):
    """Does independent pieces of work.

    Must: call the function once for every item that is asked for, in whatever process; give the
    results in the order of the items; take items only as fast as they are worked off, so that they
    may be many; raise what the function raises.
    """

    def map(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """The function's results, in the order of the items."""


class ThisProcess:
    """One item after another, right here."""

    def map(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """See `Workers`."""
        return map(function, items)


@dataclass(frozen=True)
class _Submitting:
    """Anything that takes calls and gives futures.

    Attributes:
        submit: `submit(function, item)` gives a future.
        width: how many calls are worked on at a time, just now.
        lost: what futures raise when those who work are gone.
        name: of those, for the user.
    """

    submit: Callable[[Callable[[Any], Any], Any], Any]
    width: Callable[[], int]
    lost: tuple[type[BaseException], ...]
    name: str

    def map(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """See `Workers`."""
        waiting: deque[Any] = deque()
        try:
            for item in items:
                while len(waiting) >= _AHEAD * max(1, self.width()):
                    yield waiting.popleft().result()
                waiting.append(self.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
        except self.lost as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            raise InputError(f"lost {self.name}: {why}; the same command goes on") from error
        finally:
            for future in waiting:
                future.cancel()


def local(jobs: int) -> AbstractContextManager[Workers]:
    """So many processes of this machine; for one, this process itself."""
    return _processes(jobs) if jobs > 1 else nullcontext(ThisProcess())


@contextmanager
def _processes(jobs: int) -> Iterator[Workers]:
    from joblib.externals.loky import ProcessPoolExecutor

    executor = ProcessPoolExecutor(jobs, initializer=_end_with, initargs=(os.getpid(),))
    name = f"one of {jobs} processes, often for lack of memory"
    try:
        yield _Submitting(executor.submit, lambda: jobs, (BrokenProcessPool,), name)
    finally:
        # After an error nobody wants what is still being done.
        executor.shutdown(wait=True, kill_workers=True)


def _end_with(parent: int) -> None:
    """End this process when its parent has: one that is killed cannot tell its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def on_cluster(address: str, version: Callable[[], str]) -> Iterator[Workers]:
    """The workers of a dask cluster, by the address of its scheduler (`tcp://host:8786`).

    Args:
        address: of the scheduler.
        version: must give the same on every worker as it does here.

    Raises:
        InputError: dask is not installed, nobody answers, or a worker has another version.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise InputError("a cluster needs dask: pip install 'autogo-onnx[distributed]'") from None
    try:
        # First by ourselves: a client that reaches nobody complains once more when it is collected.
        there = urlsplit(address)
        if there.scheme in {"tcp", "tls"}:
            socket.create_connection((there.hostname, there.port), _PATIENCE_S).close()
        elif not there.netloc:
            raise ValueError("an address reads tcp://HOST:PORT")
        client = Client(address, timeout=_PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{address}: no dask scheduler answers: {error}") from None
    with client:
        _check(client, address, version)
        yield _Submitting(
            # Without `pure`, dask would look into every item to find equal ones.
            partial(client.submit, pure=False),
            lambda: sum(client.nthreads().values()),  # workers may come and go
            (CancelledError, KilledWorker, OSError),
            f"the cluster at {address}",
        )


def _check(client: Client, address: str, version: Callable[[], str]) -> None:
    """Refuse a cluster that would come to other results."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE_S)
    except TimeoutError:
        raise InputError(f"{address}: the scheduler has no workers") from None
    answers = client.run(version, on_error="return")
    for worker, answer in sorted(answers.items()):
        if answer != version():
            found = f"cannot run it: {answer}" if isinstance(answer, Exception) else "has another"
            raise InputError(f"{worker}: needs this version of autogo-onnx, but {found}")
