"""What layers of random networks read and make: a tensor of known size, for every probe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

LARGEST = 40
"""Height or width beyond which nothing is enlarged."""


@dataclass(frozen=True)
class Map:
    """A tensor float[N,channels,H,W], its H and W given for every probe."""

    name: str
    channels: int
    heights: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def smallest(self) -> int:
        """The smallest height or width."""
        return min(*self.heights, *self.widths)

    @property
    def largest(self) -> int:
        """The largest height or width."""
        return max(*self.heights, *self.widths)

    def is_like(self, other: Map) -> bool:
        """Whether both have one shape, for every probe."""
        return replace(self, name="") == replace(other, name="")


def divisor(choice: Random, *numbers: int) -> int:
    """A common divisor."""
    return choice.choice(
        [d for d in range(1, min(numbers) + 1) if all(n % d == 0 for n in numbers)]
    )


def window(
    sizes: tuple[int, ...], kernel: int, stride: int, dilation: int, pads: int
) -> tuple[int, ...]:
    return tuple((n + pads - dilation * (kernel - 1) - 1) // stride + 1 for n in sizes)
