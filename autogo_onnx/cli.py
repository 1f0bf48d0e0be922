"""The command line: a group of commands, and errors turned into one line and an exit code."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import Sequence

import click

from autogo_onnx import __version__
from autogo_onnx.commands.compare import compare
from autogo_onnx.commands.database import database
from autogo_onnx.commands.demo import demo
from autogo_onnx.commands.evolve import evolve
from autogo_onnx.commands.inspect import inspect
from autogo_onnx.commands.optimize import optimize
from autogo_onnx.commands.predictor import predictor
from autogo_onnx.commands.rules import rules
from autogo_onnx.commands.segments import segments
from autogo_onnx.commands.train import train
from autogo_onnx.commands.values import Invocation, debug_option
from autogo_onnx.errors import AutogoError, InputError

COMMANDS = (optimize, evolve, inspect, compare, segments, rules, database, predictor, train, demo)
_BROKEN_PROMISE = 3
_INTERRUPTED = 130
_TERMINATED = 143


class _InOrder(click.Group):
    """Lists its commands in the order in which they were added, the main job first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autogo-onnx")
@debug_option
def autogo_onnx() -> None:
    """A trained ONNX model and a few unlabelled samples in, a faster, verified model out."""


for _command in COMMANDS:
    autogo_onnx.add_command(_command)


def main() -> None:
    """The program: runs the command of `sys.argv` and ends the process."""
    # Graphs are many small objects, few of them garbage: collecting as often as Python does by
    # itself takes a third of the time on 20,000 nodes.
    gc.set_threshold(200_000, 20, 100)
    _bound_memory()
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(run(sys.argv[1:]))
    except _Terminated:
        sys.exit(_failed("terminated", _TERMINATED))


class _Terminated(BaseException):
    """The process was asked to end: files that it leaves behind are removed on the way out."""


def _end(*_: object) -> None:
    raise _Terminated


def _bound_memory() -> None:
    """Fail on a model that asks for more memory than there is, rather than bring the machine down.

    A file of a few hundred bytes may expand to terabytes.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > there:  # a lower one is somebody's wish
        resource.setrlimit(resource.RLIMIT_DATA, (there, hard))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Errors go to stderr, one line each."""
    invocation = Invocation()
    try:
        code = autogo_onnx.main(
            list(arguments), prog_name="autogo-onnx", obj=invocation, standalone_mode=False
        )
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted", _INTERRUPTED)
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except AutogoError as error:
        if invocation.debug:
            raise
        return _failed(str(error), error.exit_code)
    except OSError as error:  # Mostly of stdout: it is full, or closed.
        if invocation.debug:
            raise
        told = f"{error.filename or 'stdout'}: {error.strerror or error}"
        _forget_unwritten()
        return _failed(told, InputError.exit_code)
    except MemoryError:
        return _failed("the model needs more memory than there is", InputError.exit_code)
    except Exception as error:  # The last door: a fault of ours, told as one.
        if invocation.debug:
            raise
        told = f"{type(error).__name__}: {error}"
        return _failed(f"internal fault, please report it with --debug: {told}", _BROKEN_PROMISE)
    return code if isinstance(code, int) else 0


def _forget_unwritten() -> None:
    """Where stdout is full: at its end Python would try again, say so and change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _failed(message: str, code: int) -> int:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return code
