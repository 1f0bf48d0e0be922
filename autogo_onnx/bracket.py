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
_LEAST_RISE = 1 / 3
"""Of what a score led to, for a rise of the score; it is never taken to be more than 1."""
_MARGIN = 0.15
"""Of the distance between both sides: nothing is tried nearer to either."""

_NEAR, _MOST_EXCESS, _PASSES = 0.3, 1.0, 3

Trial = tuple[float, float]
"""Logarithms of a score, and of what it led to over the limit."""


class Bracket:
    """The last scores that kept the limit, and that did not.

    Attributes:
        kept: the last that kept it, if there is one.
        broke: the last that did not.
    """

    def __init__(
        self, first: float, stride: float = STRIDE, rise: float = 1.0, noise: float = 0.0
    ) -> None:
        """Nothing is known but a first guess.

        Args:
            first: the guess, a logarithm.
            stride: what to go at most where the limit was seen from one side only.
            rise: of what a score leads to, for a rise of the score by 1, until two kept the limit.
            noise: scores that are nearer to each other may keep the limit, or not, by chance.
        """
        self._noise, self._trials = noise, list[Trial]()
        self.first, self.stride, self._rise = first, stride, rise
        self.kept: Trial | None = None
        self.broke: Trial | None = None

    def note(self, score: float, excess: float, *, passes: bool) -> None:
        """What a score led to; logarithms both."""
        self._trials.append((score, excess))
        if passes:
            if self.kept is not None and self.kept[0] < score:
                rise = (excess - self.kept[1]) / (score - self.kept[0])
                self._rise = min(1.0, max(_LEAST_RISE, rise))
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
            if self.broke[0] - self.kept[0] < self._noise:
                return self._on_average((self.kept[0] + self.broke[0]) / 2)
            return _between(self.kept, self.broke)
        if self.kept is not None:
            score, excess = self.kept
            return score + min(self.stride, max(_LEAST_STRIDE, (AIM - excess) / self._rise))
        if self.broke is not None:
            score, excess = self.broke
            return score - min(self.stride, max(_LEAST_STRIDE, excess - AIM))
        return self.first

    def _on_average(self, score: float) -> float:
        """Where the trials tell that the limit is: each by its excess, those near by most."""
        for _ in range(_PASSES):
            weights = [1 / (_NEAR**2 + (tried - score) ** 2) for tried, _ in self._trials]
            told = [
                tried - max(-_MOST_EXCESS, min(_MOST_EXCESS, excess)) + AIM
                for tried, excess in self._trials
            ]
            score = sum(w * t for w, t in zip(weights, told, strict=True)) / sum(weights)
        return score


def _between(kept: Trial, broke: Trial) -> float:
    """Where the line through both reaches the aim, not too near to either."""
    rise = broke[1] - kept[1]
    share = (AIM - kept[1]) / rise if rise > 0 else 0.5
    return kept[0] + min(1 - _MARGIN, max(_MARGIN, share)) * (broke[0] - kept[0])
