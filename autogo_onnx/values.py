"""Arrays by name, of which the large ones are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping

import numpy as np

from autogo_onnx.tensor_data import Array


class Values(MutableMapping[str, Array]):
    """Arrays by name; those of stored tensors are made when they are asked for."""

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

    def __delitem__(self, name: str) -> None:
        self._known.pop(name, None)
        self._waiting.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._waiting

    def __iter__(self) -> Iterator[str]:
        yield from self._known
        yield from self._waiting

    def __len__(self) -> int:
        return len(self._known) + len(self._waiting)
