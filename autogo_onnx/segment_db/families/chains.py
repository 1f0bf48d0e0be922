"""Chains of operations, as blocks of Two-Path and paths of Inception are made of."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Chains:
    """Chains of at least one convolution and at most one supplement, in any order.

    >>> Chains(("conv3x3",), ("conv1x1",)).contains(("conv1x1", "conv3x3", "conv3x3"))
    True
    """

    convolutions: tuple[str, ...]
    supplements: tuple[str, ...]

    def contains(self, operations: tuple[str, ...]) -> bool:
        """Whether the operations are such a chain."""
        convolutions = sum(operation in self.convolutions for operation in operations)
        supplements = sum(operation in self.supplements for operation in operations)
        return convolutions + supplements == len(operations) and convolutions >= 1 >= supplements

    def draw(self, generator: random.Random, length: int) -> tuple[str, ...]:
        """A random chain as GENNAPE's authors draw it.

        One convolution to begin with, then all operations alike until there is a supplement, then
        convolutions; the order is random.
        """
        share = len(self.supplements) / (len(self.supplements) + len(self.convolutions))
        chain = [generator.choice(self.convolutions)]
        supplemented = False
        while len(chain) < length:
            supplement = not supplemented and generator.random() < share
            supplemented |= supplement
            chain.append(generator.choice(self.supplements if supplement else self.convolutions))
        generator.shuffle(chain)
        return tuple(chain)

    def __str__(self) -> str:
        return (
            f"at least one of {', '.join(self.convolutions)}, "
            f"and at most one of {', '.join(self.supplements)}"
        )
