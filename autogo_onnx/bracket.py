"""Where a limit is reached: numbers in, numbers out.

How far a plan is beyond the gate grows about like a power of its summed score, here between two
thirds and once it, with noise. So logarithms of both are told and lie about on a line.
"""

from __future__ import annotations

from math import log

AIM = log(0.9)
"""Just within the limit: the figures are noisy."""
STRIDE = log(8.0)
"""Most that a step changes the score by where the limit was seen from one side only, and least."""
_LEAST_STRIDE = log(1.25)
_MARGIN = 0.15
"""Of the distance between both sides: nothing is tried nearer to either."""

Trial = tuple[float, float]
"""Logarithms of a score, and of what it led to over the limit."""


class Bracket:
    """The last score that kept the limit, and the first that did not.

    Attributes:
        kept: the largest that kept it, if there is one.
        broke: the smallest that did not.
    """

    def __init__(self, first: float, stride: float = STRIDE) -> None:
        """Nothing is known but a first guess.

        Args:
            first: the guess, a logarithm.
            stride: what to go at most where the limit was seen from one side only.
        """
        self.first, self.stride = first, stride
        self.kept: Trial | None = None
        self.broke: Trial | None = None

    def note(self, score: float, excess: float, *, passes: bool) -> None:
        """What a score led to; logarithms both."""
        if passes:
            self.kept = (score, excess)
        else:
            self.broke = (score, excess)

    def next(self) -> float:
        """The logarithm of the score to try next.

        >>> bracket = Bracket(-5.0)
        >>> bracket.note(bracket.next(), 1.0, passes=False)
        >>> round(bracket.next(), 2)
        -6.11
        >>> bracket.note(bracket.next(), -0.4, passes=True)
        >>> round(bracket.next(), 2)
        -5.87
        """
        if self.kept is not None and self.broke is not None:
            return _between(self.kept, self.broke)
        if self.kept is not None:
            score, excess = self.kept
            return score + min(self.stride, max(_LEAST_STRIDE, AIM - excess))
        if self.broke is not None:
            score, excess = self.broke
            return score - min(self.stride, max(_LEAST_STRIDE, excess - AIM))
        return self.first


def _between(kept: Trial, broke: Trial) -> float:
    """Where the line through both reaches the aim, not too near to either."""
    rise = broke[1] - kept[1]
    share = (AIM - kept[1]) / rise if rise > 0 else 0.5
    return kept[0] + min(1 - _MARGIN, max(_MARGIN, share)) * (broke[0] - kept[0])
