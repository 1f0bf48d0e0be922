"""The wall-clock budget of a run.

The clock only ever cuts work short; it never decides between results.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from autogo_onnx.errors import OutOfTime


@dataclass
class Clock:
    """Seconds that a run has taken, those before an interruption included.

    Attributes:
        start: on the monotonic clock; earlier than it was by what was found before.
        is_stopped: whether the run is broken off: every deadline is past then.
    """

    start: float = field(default_factory=time.monotonic)
    is_stopped: bool = False

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    def skip_to(self, elapsed_s: float) -> None:
        """What took until then is here without the wait; the clock is never put back."""
        self.start -= max(0.0, elapsed_s - self.elapsed())


@dataclass(frozen=True)
class Deadline:
    """A number of seconds on a clock, before which some work is to be done.

    Work that can take more than about a second asks before it begins, and gives back what it has
    when there is no time left.
    """

    seconds: float
    clock: Clock = field(default_factory=Clock)

    def elapsed(self) -> float:
        """Seconds since the clock's start."""
        return self.clock.elapsed()

    def left(self) -> float:
        """Seconds left; negative when it is past."""
        return -math.inf if self.clock.is_stopped else self.seconds - self.elapsed()

    def has(self, seconds: float) -> bool:
        """Whether more than so many seconds are left."""
        return self.left() > seconds

    def is_past(self) -> bool:
        """Whether no time is left."""
        return not self.has(0.0)

    def check(self) -> None:
        """Break off where no time is left.

        Raises:
            OutOfTime: it is past.
        """
        if self.is_past():
            raise OutOfTime("there was no time left")

    def part(self, share: float) -> Deadline:
        """The deadline of a stage that begins now and may take a share of what is left."""
        return Deadline(self.elapsed() + share * max(0.0, self.left()), self.clock)
