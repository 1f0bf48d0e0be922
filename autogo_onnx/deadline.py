"""The wall-clock budget of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Deadline:
    """Seconds that a run may take, counted from its making.

    The clock only ever cuts work short; it never decides between results.
    """

    seconds: float
    start: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    def is_past(self, share: float) -> bool:
        """Whether this share of the budget is used up."""
        return self.elapsed() > share * self.seconds

    def has(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return self.elapsed() + seconds <= self.seconds
