"""Progress on stderr: a live bar on a terminal, plain lines elsewhere, nothing when told so."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TextIO

from autogo_onnx.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import TaskID


class PlainLines:
    """One line per stage and per note, with the seconds since the start."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic()

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def stage(self, name: str, total: int | None = None) -> None:
        """Write the stage's name and its size."""
        self._write(name if total is None else f"{name} ({total})")

    def advance(self, steps: int = 1) -> None:
        """Say nothing: lines per step would drown the rest."""

    def note(self, text: str) -> None:
        """Write the line."""
        self._write(f"  {text}")

    def _write(self, text: str) -> None:
        seconds = time.monotonic() - self._start
        self._stream.write(f"[{seconds:6.1f} s] {text}\n")
        self._stream.flush()


class Bars:
    """One live line for the current stage, with a bar where its length is known.

    Finished stages stay on the screen with the time they took.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._bars = RichProgress(*columns, console=Console(file=stream))
        self._current: TaskID | None = None

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self._bars.stop()

    def stage(self, name: str, total: int | None = None) -> None:
        """End the line of the last stage, begin one."""
        self._finish()
        self._current = self._bars.add_task(name, total=total)

    def advance(self, steps: int = 1) -> None:
        """Move the bar."""
        if self._current is not None:
            self._bars.advance(self._current, steps)

    def note(self, text: str) -> None:
        """Write the line above the bars; it is text, never markup."""
        self._bars.console.print(f"  {text}", markup=False, highlight=False)

    def _finish(self) -> None:
        """A stage that ended is full, whatever it counted."""
        if self._current is not None:
            task = next(t for t in self._bars.tasks if t.id == self._current)
            total = task.total or max(1, int(task.completed))
            self._bars.update(self._current, total=total, completed=total)
            self._current = None


def progress_on(stream: TextIO | None = None, *, quiet: bool) -> AbstractContextManager[Progress]:
    """The right receiver for a stream: silent, bars on a terminal, else plain lines."""
    stream = stream or sys.stderr
    if quiet:
        return nullcontext(Silent())
    return Bars(stream) if stream.isatty() else PlainLines(stream)
