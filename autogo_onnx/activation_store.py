"""Activations on disk, in half the bytes, with those read last at hand in memory.

Each sample of a float32 tensor is multiplied by a power of two, which is exact, so that its largest
value is near 2^15, and kept as float16: eleven digits of every value that is no more than 2^29
times smaller than that. So neither large nor tiny activations are harmed. Others stay as they are.

The file has no name in any folder, so it is gone however the process ends, and it is read and
written, not mapped: a full disk is then an error to report, and what was read does not count twice.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from math import prod
from threading import Lock, Thread
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from autogo_onnx import half, scratch
from autogo_onnx.errors import InputError
from autogo_onnx.streams import Array

CACHE_BYTES = 100_000_000
FREE_SHARE = 0.5
"""Of what is free on the disk, others are left the rest."""

_TOP = 15  # Values up to 2^15 leave room for rounding: float16 ends at 65,504.
_Key = tuple[int, int, int]


def free_bytes() -> int:
    """What activations may take of the disk now."""
    try:
        return int(FREE_SHARE * shutil.disk_usage(scratch.folder()).free)
    except OSError:
        return 0


def stored_bytes(shape: tuple[int, ...]) -> int:
    """What one sample of a float32 tensor with this shape (leading axis included) takes on disk."""
    return 2 * prod(shape[1:])


class ActivationStore:
    """The file, and the blocks that were read last; lives as long as any tensor in it.

    One thread writes; any may read.

    Attributes:
        cache_bytes: most bytes of read blocks that are kept in memory; changes no value.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self.cache_bytes = cache_bytes
        self._file: IO[bytes] | None = None
        self._end = 0
        self._cache: OrderedDict[_Key, Array] = OrderedDict()
        self._cached = 0
        self._lock = Lock()
        self._tensors = 0

    def number(self) -> int:
        """A number for a tensor, which no other has; blocks are cached under it."""
        self._tensors += 1
        return self._tensors

    def write(self, array: Array) -> int:
        """Append an array; where it begins.

        Raises:
            InputError: there is no room for it.
        """
        start = self._end
        try:
            left = np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")
            while left:
                written = os.pwrite(self._opened(), left, self._end)
                self._end, left = self._end + written, left[written:]
        except OSError as error:
            raise InputError(_no_room(error)) from None
        return start

    def read(self, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array that was written.

        Raises:
            InputError: the disk fails.
        """
        array = np.empty(shape, dtype)
        left = array.data.cast("B") if array.size else memoryview(b"")
        try:
            while left:
                count = os.preadv(self._opened(), [left], start)
                if count == 0:
                    raise InputError("activations on disk were cut short")
                start, left = start + count, left[count:]
        except OSError as error:
            raise InputError(_no_room(error)) from None
        return array

    def cached(self, key: _Key) -> Array | None:
        """A block that was kept; None if it was not, or not any more."""
        with self._lock:
            found = self._cache.get(key)
            if found is not None:
                self._cache.move_to_end(key)
            return found

    def keep(self, key: _Key, block: Array) -> None:
        """Keep a block, in the place of those that were not read for longest."""
        if block.nbytes > self.cache_bytes:
            return
        with self._lock:
            before = self._cache.get(key)
            self._cache[key] = block
            self._cached += block.nbytes - (0 if before is None else before.nbytes)
            while self._cached > self.cache_bytes:
                self._cached -= self._cache.popitem(last=False)[1].nbytes

    def _opened(self) -> int:
        if self._file is None:
            file = tempfile.TemporaryFile(buffering=0, dir=scratch.folder())  # noqa: SIM115
            weakref.finalize(self, _give_back, file).atexit = False
            self._file = file
        return self._file.fileno()


def _give_back(file: IO[bytes]) -> None:
    """Close the file, in a thread: gigabytes take long, and a Ctrl-C in a finalizer is lost."""
    Thread(target=file.close).start()


def _no_room(error: OSError) -> str:
    why = error.strerror or error
    return f"no room on disk for activations ({scratch.folder()}): {why}; give less --memory"


@dataclass(frozen=True)
class _Block:
    """Samples that were written together: where they are, and the power of two of each."""

    start: int
    stop: int
    offset: int
    exponents: NDArray[np.int32] | None


@dataclass(eq=False)
class StoredTensor:
    """A stream in a store, which grows by `append` until it is read.

    Attributes:
        store: where it is.
        dtype: of what was appended, and comes out again.
    """

    store: ActivationStore
    dtype: np.dtype[Any]
    _inner: tuple[int, ...]
    _number: int
    _blocks: list[_Block] = field(default_factory=list)

    @classmethod
    def like(cls, store: ActivationStore, array: Array) -> StoredTensor:
        """An empty tensor for samples such as those of an array."""
        return cls(store, array.dtype, array.shape[1:], store.number())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the samples so far."""
        return (self._blocks[-1].stop if self._blocks else 0, *self._inner)

    def append(self, array: Array) -> None:
        """More samples, of the same inner shape.

        Raises:
            InputError: there is no room, or they have another shape than those before.
        """
        if array.shape[1:] != self._inner or array.dtype != self.dtype:
            raise InputError(f"a tensor is {array.shape[1:]} for some samples, else {self._inner}")
        exponents = None
        if array.dtype == np.float32:
            array, exponents = _halved(array)
        start = self.shape[0]
        offset = self.store.write(array)
        self._blocks.append(_Block(start, start + len(array), offset, exponents))

    def __getitem__(self, samples: slice, /) -> Array:
        start, stop = samples.start, min(samples.stop, self.shape[0])
        key = (self._number, start, stop)
        found = self.store.cached(key)
        if found is None:
            found = self._read(start, stop)
            found.flags.writeable = False
            self.store.keep(key, found)
        return found

    def _read(self, start: int, stop: int) -> Array:
        result = np.empty((max(0, stop - start), *self._inner), self.dtype)
        for block in self._blocks:
            first, last = max(start, block.start), min(stop, block.stop)
            if first < last:
                place = result[first - start : last - start]
                place[...] = self._part(block, slice(first - block.start, last - block.start))
        return result

    def _part(self, block: _Block, samples: slice) -> Array:
        """Some samples of a block, counted from its start."""
        dtype = self.dtype if block.exponents is None else np.dtype(np.float16)
        offset = block.offset + samples.start * dtype.itemsize * prod(self._inner)
        shape = (samples.stop - samples.start, *self._inner)
        values = self.store.read(offset, shape, dtype)
        if block.exponents is None:
            return values
        restored = half.to_float(values)
        restored *= _factors(block.exponents[samples], restored.ndim)
        return restored


def _halved(array: Array) -> tuple[Array, NDArray[np.int32]]:
    """float32[N,...] as float16 and the exponent of each sample's factor: all exact but rounding.

    NaN and infinity stay what they are.
    """
    largest = _largest(array.reshape(len(array), -1))
    exponents = np.frexp(np.where(largest > 0.0, largest, 1.0))[1] - _TOP
    # The factor and its inverse are to be normal float32.
    exponents = np.clip(exponents, -126, 126).astype(np.int32)
    with np.errstate(under="ignore", invalid="ignore"):
        scaled = array * _factors(-exponents, array.ndim)
    return half.from_float(scaled), exponents


def _largest(flat: Array) -> Array:
    """The largest finite magnitude of each row of float32[N,K]."""
    with np.errstate(invalid="ignore"):
        largest = np.maximum(flat.max(axis=1, initial=0.0), -flat.min(axis=1, initial=0.0))
    for row in np.flatnonzero(~np.isfinite(largest)):
        finite = flat[row][np.isfinite(flat[row])]
        largest[row] = np.abs(finite).max(initial=0.0)
    return np.asarray(largest)


def _factors(exponents: NDArray[np.int32], ndim: int) -> NDArray[np.float32]:
    factors = np.ldexp(np.float32(1), exponents).reshape(-1, *(1,) * (ndim - 1))
    return np.asarray(factors, np.float32)
