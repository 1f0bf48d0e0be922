"""Activations at a site, and the moments of them that its candidates share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from autogo_onnx.fitting.importance import Importance
from autogo_onnx.fitting.moments import Moments, Rows, Window, grouped_moments
from autogo_onnx.opgraph import Op
from autogo_onnx.streams import Array, Stream, blocks, channel_variances

_T = TypeVar("_T")
_LARGEST_VALUE = 1e15
# Of moments that were taken from larger ones: those of all crops of a 9x9 kernel fill gigabytes.
_PARTS_KEPT = 2


class Boundary:
    """What goes into a site, float[N,C,H,W], and what should come out of it.

    Remembers what was computed of them, because the candidates of one site ask for the same.

    Attributes:
        inputs, target: of the site.
        importance: of errors in the target; None: all count alike.
        rows: most positions that fits see.
        seed: that they are drawn with.
    """

    def __init__(
        self,
        inputs: tuple[Stream, ...],
        target: Stream,
        *,
        rows: int,
        seed: int,
        importance: Importance | None = None,
    ) -> None:
        """Nothing is computed yet.

        Args:
            inputs, target: of the site.
            rows: most positions that fits see.
            seed: that they are drawn with.
            importance: of errors in the target.
        """
        self.inputs = inputs
        self.target = target
        self.importance = importance
        self.rows = rows
        self.seed = seed
        self._origin: Boundary | None = None
        self._moments: dict[tuple[Window, int], tuple[Moments, ...]] = {}
        self._parts: OrderedDict[tuple[Window, int], tuple[Moments, ...]] = OrderedDict()
        self._remembered: dict[Hashable, Any] = {}

    def aimed_at(self, target: Stream) -> Boundary:
        """The same inputs with another target: moments of inputs are not computed again."""
        made = Boundary(
            self.inputs,
            target,
            rows=self.rows,
            seed=self.seed,
            importance=self.importance,
        )
        made._origin = self
        return made

    @cached_property
    def is_usable(self) -> bool:
        """Whether squares of all values are finite."""
        return all(_is_usable(s[some]) for s in (*self.inputs, self.target) for some in blocks([s]))

    @cached_property
    def energy(self) -> float:
        """Summed variance of the target's channels over all positions."""
        return float(channel_variances(self.target).sum())

    def moments(self, window: Window) -> Moments:
        """Moments of the first input under a window."""
        return self.grouped_moments(window, 1)[0]

    def grouped_moments(self, window: Window, group: int) -> tuple[Moments, ...]:
        """Moments of each channel group of the first input and the target.

        Whatever lies within a window that was asked for before is taken from it.
        """
        key = window, group
        found = self._moments.get(key) or self._parts.get(key)
        if found is None:
            found = self._taken(window, group)
            if found is None:
                known = None if self._origin is None else self._origin._moments.get(key)
                parts, rows = [(self.inputs[0], window)], Rows(self.rows, self.seed)
                found = grouped_moments(parts, self.target, group, rows, known)
                self._moments[key] = found
            else:
                self._parts[key] = found
                if len(self._parts) > _PARTS_KEPT:
                    self._parts.popitem(last=False)
        return found

    def once(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """What `make` returned when it was first called for this key."""
        if key not in self._remembered:
            self._remembered[key] = make()
        found: _T = self._remembered[key]
        return found

    def _taken(self, window: Window, group: int) -> tuple[Moments, ...] | None:
        """Moments under a part of a known window, with as many groups or fewer."""
        channels, outputs = self.inputs[0].shape[1], self.target.shape[1] // group
        for (known, parts), whole in self._moments.items():
            offset = window.offset_in(known)
            if offset is None or parts not in (1, group):
                continue
            columns = known.columns(channels // parts, window.kernel, offset)
            if parts == group:
                return tuple(m.take(columns) for m in whole)
            pieces = np.split(columns, group)
            return tuple(
                whole[0].take(piece, slice(g * outputs, (g + 1) * outputs))
                for g, piece in enumerate(pieces)
            )
        return None


def _is_usable(array: Array) -> bool:
    largest = max(array.max(initial=0.0), -array.min(initial=0.0))
    return bool(largest < _LARGEST_VALUE)  # NaN is not.


def window_of(op: Op) -> Window:
    """The window of a two-dimensional convolution."""
    return Window(op.get("kernel_shape"), op.get("strides"), op.get("pads"), op.get("dilations"))
