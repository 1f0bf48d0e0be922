"""What a family of networks is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from autogo_onnx.segment_db.families.network import Network


@dataclass(frozen=True)
class Family:
    """A published family of networks, each named by a line of text, its code.

    Attributes:
        name: as it stands in the database.
        build: the network of a code; raises InputError for what is no code of the family.
        codes: `codes(count, seed)` gives codes of at most `count` networks, no two of them equal in
            text: all of the family in a fixed order where it has no more than `count`, else
            a random choice that the seed decides.
        source: paper, and the code that the rules were taken from.
    """

    name: str
    build: Callable[[str], Network]
    codes: Callable[[int, int], Iterator[str]]
    source: str


def sampled(codes: Iterable[str], count: int, seed: int) -> Iterator[str]:
    """All of a list of codes, or so many of them chosen at random, in their order."""
    listed = list(codes)
    if count >= len(listed):
        return iter(listed)
    return iter(listed[i] for i in sorted(random.Random(seed).sample(range(len(listed)), count)))


def drawn(draw: Callable[[random.Random], str], count: int, seed: int) -> Iterator[str]:
    """So many different codes of a family too large to be listed, drawn one after the other.

    A greater count goes on where a smaller one ends. The family must have `count` codes.
    """
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        code = draw(rng)
        if code not in seen:
            seen.add(code)
            yield code
