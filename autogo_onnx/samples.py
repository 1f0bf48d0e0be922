"""Samples in memory: arrays whose leading axis counts samples, and how they are fed in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np


@dataclass(frozen=True)
class Samples:
    """Inputs of a model, one entry per sample.

    Attributes:
        feeds: per input an array whose leading axis counts samples.
        labels: int64[N] class indices, if known.
        batch: the only batch size that the model takes; None for any.
        whole: inputs of which one entry is all the input of one run; there is then no batching.
    """

    feeds: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None
    batch: int | None = None
    whole: frozenset[str] = field(default_factory=frozenset)

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))

    @cached_property
    def digest(self) -> str:
        """Tells them, their order and their labels apart from others."""
        whole = blake2b(repr((self.batch, sorted(self.whole))).encode(), digest_size=16)
        labels = {} if self.labels is None else {"": self.labels}
        for name, array in sorted({**self.feeds, **labels}.items()):
            whole.update(repr((name, array.shape, array.dtype.str)).encode())
            whole.update(np.ascontiguousarray(array).data if array.size else b"")
        return whole.hexdigest()

    def take(self, indices: Sequence[int] | np.ndarray) -> Samples:
        """The samples at some positions, in that order."""
        index = np.asarray(indices, dtype=np.intp)
        labels = None if self.labels is None else self.labels[index]
        return replace(self, feeds={n: a[index] for n, a in self.feeds.items()}, labels=labels)

    def batch_size(self, wanted: int) -> int:
        """`wanted`, or the only size that the model takes."""
        return 1 if self.whole else self.batch or wanted

    def batches(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Feeds of `size` samples in order, the last one shorter.

        Where the model takes one batch size only, that is the size, and the last feed repeats
        the last sample instead.
        """
        size = self.batch_size(size)
        for start in range(0, len(self), size):
            yield self._feed(start, size)

    def _feed(self, start: int, size: int) -> dict[str, np.ndarray]:
        stop = min(start + size, len(self))
        rows: slice | np.ndarray = slice(start, stop)
        if self.batch and stop - start < size:
            rows = np.minimum(np.arange(start, start + size), len(self) - 1)
        return {
            name: np.asarray(array[start] if name in self.whole else array[rows])
            for name, array in self.feeds.items()
        }


def evenly(count: int, most: int) -> np.ndarray:
    """Positions of at most so many of `count` samples, at equal distances: files may be sorted.

    >>> evenly(10, 5).tolist(), evenly(3, 5).tolist()
    ([0, 2, 4, 6, 8], [0, 1, 2])
    """
    most = min(most, count)
    return np.arange(most) * count // most
