"""Arrays by name, of which those of stored tensors are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from autogo_onnx.tensor_data import Array


class Values(Mapping[str, Array]):
    """Arrays by name, to which more may be added, known or to be made."""

    def __init__(self) -> None:
        self._known: dict[str, Array] = {}
        self._waiting: dict[str, Callable[[], Array]] = {}

    def later(self, name: str, make: Callable[[], Array]) -> None:
        """Add an array that is made on demand."""
        self._waiting[name] = make

    def __getitem__(self, name: str) -> Array:
        if name in self._known:
            return self._known[name]
        array = self._waiting[name]()
        # A map of a file that lives on counts as memory, page by page, once it was read.
        if not isinstance(array, np.memmap):
            self[name] = array
        return array

    def __setitem__(self, name: str, array: Array) -> None:
        self._known[name] = array
        self._waiting.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._waiting

    def __iter__(self) -> Iterator[str]:
        # A copy, since looking at a value moves its name from one to the other.
        yield from (*self._known, *self._waiting)

    def __len__(self) -> int:
        return len(self._known) + len(self._waiting)
