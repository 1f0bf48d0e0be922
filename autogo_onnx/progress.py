"""What a long run tells while it works; the command line draws it, a library caller ignores it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receiver of progress.

    Must: return quickly; never raise; never write to stdout.
    """

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins; `total` steps are expected when known."""

    def advance(self, steps: int = 1) -> None:
        """Some steps of the current stage are done."""

    def note(self, text: str) -> None:
        """One line worth reading."""


class Silent:
    """A receiver that ignores everything."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignore the stage."""

    def advance(self, steps: int = 1) -> None:
        """Ignore the steps."""

    def note(self, text: str) -> None:
        """Ignore the line."""
