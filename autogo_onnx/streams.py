"""Tensors of many samples that are read some samples at a time, because all would fill the memory.

An array is a stream, too, so whatever takes streams takes arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK_ELEMENTS = 1 << 24
"""So many elements of the largest of some streams are in memory at a time: 64 MB of float32.

A constant, because sums are rounded block by block, and results are not to depend on the memory.
"""


class Stream(Protocol):
    """A tensor whose leading axis counts samples.

    Must: give `[start:stop]` as an array of samples in order, the same values at every time. Such
    an array may be read-only, and is not to be changed.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all samples."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the arrays that come out."""
        ...

    def __getitem__(self, samples: slice, /) -> Array:
        """Some samples; the slice has a start and a stop, and no step."""
        ...


def blocks(streams: Sequence[Stream]) -> Iterator[slice]:
    """Slices that together are all samples, each as many as should be in memory at a time.

    >>> [(s.start, s.stop) for s in blocks([np.zeros((5, 1 << 23), np.float32)])]
    [(0, 2), (2, 4), (4, 5)]
    """
    count = streams[0].shape[0]
    largest = max(prod(stream.shape[1:]) for stream in streams)
    size = max(1, BLOCK_ELEMENTS // max(1, largest))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def whole(stream: Stream) -> Array:
    """All samples in one array."""
    return stream[0 : stream.shape[0]]


@dataclass(frozen=True)
class Part:
    """Consecutive samples of a stream."""

    stream: Stream
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of those samples."""
        return (self.stop - self.start, *self.stream.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stream."""
        return self.stream.dtype

    def __getitem__(self, samples: slice, /) -> Array:
        stop = min(self.start + samples.stop, self.stop)
        return self.stream[self.start + samples.start : stop]


@dataclass(frozen=True)
class Difference:
    """One stream less another of the same shape."""

    minuend: Stream
    subtrahend: Stream

    @property
    def shape(self) -> tuple[int, ...]:
        """Of both."""
        return self.minuend.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of both."""
        return self.minuend.dtype

    def __getitem__(self, samples: slice, /) -> Array:
        return np.asarray(self.minuend[samples] - self.subtrahend[samples])


def channel_variances(stream: Stream) -> NDArray[np.float64]:
    """Variance of every channel over samples and positions: float[N,C,...] -> float64[C].

    Blocks are joined as in Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for
    computing sample variances (1979): no digits are lost to a large mean.

    >>> channel_variances(np.array([[1.0, 5.0], [3.0, 5.0]]))
    array([1., 0.])
    """
    count, mean, squares = 0, np.zeros(stream.shape[1]), np.zeros(stream.shape[1])
    for some in blocks([stream]):
        block = stream[some]
        axes = tuple(axis for axis in range(block.ndim) if axis != 1)
        size = block.size // block.shape[1]
        shift = block.mean(axis=axes, dtype=np.float64) - mean
        mean += shift * size / (count + size)
        squares += size * block.var(axis=axes, dtype=np.float64)
        squares += np.square(shift) * count * size / (count + size)
        count += size
    return squares / max(1, count)
