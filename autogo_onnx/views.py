"""Pictures as they could also have been taken: mirrored, or moved by little.

To a person they show the same; to a network they are nearly other samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from autogo_onnx.samples import Samples

_COLOURS, _GREY = 3, 1
_SMALLEST = 16
"""Pixels of a picture, each way; less may be anything."""
_STEPS_ACROSS = 32
"""A move is such a part of the picture, a pixel at least."""


@dataclass(frozen=True)
class View:
    """One way to see a picture.

    Attributes:
        is_mirrored: left for right.
        down, right: steps that it is moved by; what comes in repeats the edge.
    """

    is_mirrored: bool = False
    down: int = 0
    right: int = 0

    def of(self, samples: Samples) -> Samples | None:
        """The samples so seen; None where that is not known to be possible.

        Pictures are moved in one colour or three, and mirrored in three only: one channel may as
        well be a spectrogram.
        """
        if self == AS_IT_IS:
            return samples
        rows = _rows_axis(samples, (_COLOURS,) if self.is_mirrored else (_COLOURS, _GREY))
        if rows is None:
            return None
        ((name, seen),) = samples.feeds.items()
        if self.is_mirrored:
            seen = np.flip(seen, rows + 1)
        for axis, steps in ((rows, self.down), (rows + 1, self.right)):
            seen = _moved(seen, axis, steps)
        return replace(samples, feeds={name: seen})


AS_IT_IS, MIRRORED = View(), View(is_mirrored=True)
MOVED = tuple(View(down=down, right=right) for down, right in ((1, 0), (0, 1), (-1, 0), (0, -1)))


def _rows_axis(samples: Samples, channels: tuple[int, ...]) -> int | None:
    """The axis of rows, columns next to it, of [N,C,H,W] or [N,H,W,C]; None of anything else."""
    if len(samples.feeds) != 1 or samples.whole:
        return None
    (pictures,) = samples.feeds.values()
    for axis, rows in ((1, 2), (3, 1)) if pictures.ndim == 4 else ():
        sides = pictures.shape[rows : rows + 2]
        if pictures.shape[axis] in channels and min(sides) >= _SMALLEST:
            return rows
    return None


def _moved(pictures: np.ndarray, axis: int, steps: int) -> np.ndarray:
    if not steps:
        return pictures
    size = pictures.shape[axis]
    pixels = steps * max(1, size // _STEPS_ACROSS)
    found: np.ndarray = pictures.take(np.clip(np.arange(size) - pixels, 0, size - 1), axis)
    return found
