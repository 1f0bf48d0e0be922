"""Segments that were found, each read when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

_Item = TypeVar("_Item")
_CHUNK = 64


class Found(Sequence[_Item], Generic[_Item]):
    """A sequence of segments of which only the numbers are known at first.

    Args:
        numbers: of the segments, in order.
        read: the segments of some numbers, in their order.
    """

    def __init__(
        self, numbers: Sequence[int], read: Callable[[Sequence[int]], Sequence[_Item]]
    ) -> None:
        self._numbers = numbers
        self._read = read

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[_Item]:
        for start in range(0, len(self._numbers), _CHUNK):
            yield from self._read(self._numbers[start : start + _CHUNK])

    def ordered(self, places: Sequence[int]) -> Found[_Item]:
        """Some of them, by their places, in another order."""
        return Found([self._numbers[place] for place in places], self._read)

    @overload
    def __getitem__(self, index: int) -> _Item: ...
    @overload
    def __getitem__(self, index: slice) -> Found[_Item]: ...
    def __getitem__(self, index: int | slice) -> _Item | Found[_Item]:
        if isinstance(index, slice):
            return Found(self._numbers[index], self._read)
        return self._read([self._numbers[index]])[0]
