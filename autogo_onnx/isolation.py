"""Runs on inputs that are made up, in a process of their own: ONNX Runtime may die of them.

On sizes or values that a model was not made for, ONNX Runtime does not always refuse: integers that
are divided by zero, lengths beyond the data or a state of the wrong size end the whole process
(seen with models for speech that others ship). So whoever invents an input tries it here first.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import onnx

from autogo_onnx import runtime
from autogo_onnx.errors import InputError
from autogo_onnx.samples import Samples

if TYPE_CHECKING:
    import onnxruntime as ort

_FORKS = sys.platform == "linux"
"""Elsewhere a forked process may not use what its parent has loaded: all runs in this one."""
_STARTING_S = 300.0
_GRACE_S = 10.0
_DEFAULT_S = 120.0
_BATCH = 32
_PARENT_DEATH_SIGNAL = 1

Feed = Mapping[str, np.ndarray[Any, Any]]


class Died(InputError):
    """A run ended its process."""


class Isolated:
    """A model's session in a child of this process; to be used in a `with` statement.

    A child that dies is replaced for the next run. It is forked: nothing is imported, copied or
    written for it, and all that it does is run one thread of ONNX Runtime.
    """

    def __init__(self, model: onnx.ModelProto, *, optimize: bool = True) -> None:
        self._model, self._optimize = model, optimize
        self._child: tuple[int, Connection] | None = None
        self._here: ort.InferenceSession | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def run(self, feed: Feed, *, limit_s: float = _DEFAULT_S) -> list[Any]:
        """All outputs, as `runtime.run` gives them.

        Raises:
            InputError: ONNX Runtime does not load the model, refuses the feed or fails on it.
            Died: it dies of it.
            TookTooLong: the run was broken off after `limit_s` seconds.
        """
        try:
            if self._child is None and self._here is None:
                self._start()
            if self._child is None:
                return self._run_here(feed, limit_s)
            self._child[1].send((feed, limit_s))
            answer = self._received(limit_s + _GRACE_S)
        except (EOFError, OSError) as error:
            self._end()
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feed.items())
            raise Died(f"ONNX Runtime dies of the model with {shapes}") from error
        if isinstance(answer, InputError):
            raise answer
        return list(answer)

    def _start(self) -> None:
        """Have a child open the session; where there can be none, open it here."""
        self._child = _forked(self._model, self._optimize)
        if self._child is None:
            self._here = runtime.open_session(self._model, optimize=self._optimize)
            return
        answer = self._received(_STARTING_S)
        if isinstance(answer, InputError):
            self._end()
            raise answer

    def _run_here(self, feed: Feed, limit_s: float) -> list[Any]:
        assert self._here is not None, "it was opened"
        return runtime.run(self._here, None, feed, limit_s=limit_s)

    def _received(self, limit_s: float) -> Any:
        assert self._child is not None, "it was asked"
        pipe = self._child[1]
        if not pipe.poll(limit_s):
            self._end()
            raise runtime.TookTooLong(f"the model runs for more than {limit_s:g} seconds")
        return pipe.recv()

    def _end(self) -> None:
        if self._child is not None:
            (child, pipe), self._child = self._child, None
            pipe.close()
            with suppress(ProcessLookupError, ChildProcessError):  # who ignores ends need not wait
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def try_apart(
    model: onnx.ModelProto, noise: Samples, *, optimize: bool, limit_s: float = _DEFAULT_S
) -> None:
    """See in a process of its own whether a model runs on noise: on one batch, and on many at once.

    Many at once it may refuse, as long as it does not die of them.

    Args:
        model: any.
        noise: made-up samples.
        optimize: as they will be run.
        limit_s: for one run.

    Raises:
        InputError: it does not run, or not within the time.
    """
    with Isolated(model, optimize=optimize) as session:
        session.run(next(noise.batches(1)), limit_s=limit_s)
        if len(noise) == 1:
            return
        try:
            session.run(next(noise.batches(_BATCH)), limit_s=limit_s)
        except (Died, runtime.TookTooLong):
            raise
        except InputError:
            return


def _forked(model: onnx.ModelProto, optimize: bool) -> tuple[int, Connection] | None:
    """A child that serves, and the way to it; None where there can be none."""
    if not _FORKS:
        return None
    parent = os.getpid()
    try:
        here, there = Pipe()
        with warnings.catch_warnings():
            # Other threads do not go on in the child, which shares no lock with them.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
    except OSError:  # of processes, files or memory there are no more
        return None
    if child == 0:
        try:
            _become_a_child(parent)
            here.close()
            _serve(there, model, optimize)
        finally:
            os._exit(0)
    there.close()
    return child, here


def _become_a_child(parent: int) -> None:
    """Let go of what is the parent's: end with it, run none of its destructors, say nothing."""
    import resource  # which only Unix has

    gc.disable()
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its last words are of no use to a user


def _serve(pipe: Connection, model: onnx.ModelProto, optimize: bool) -> None:
    """Answer until nobody asks any more; what goes wrong is an answer."""
    try:
        session = runtime.open_session(model, optimize=optimize)
    except InputError as error:
        pipe.send(error)
        return
    pipe.send(None)
    while True:
        feed, limit_s = pipe.recv()
        try:
            answer: Any = runtime.run(session, None, feed, limit_s=limit_s)
        except InputError as error:
            answer = error
        except MemoryError:
            answer = InputError("the model needs more memory than there is")
        pipe.send(answer)
