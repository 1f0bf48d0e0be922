"""What came of narrowing one space, remembered over an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from autogo_onnx.ground import Ground
from autogo_onnx.widths.spaces import Indices, Space

_KIND = "narrowing"

Narrowed = tuple[Indices, float, float]


def is_remembered(ground: Ground, space: Space, samples: Sequence[int]) -> bool:
    """Whether nothing needs to be computed for a space."""
    return ground.job.checkpoints.knows(_KIND, _name(ground, space, samples))


def remembered(
    ground: Ground,
    space: Space,
    samples: Sequence[int],
    compute: Callable[[], Iterable[Narrowed]],
) -> list[Narrowed]:
    """Of every width the channels that stay, the error and the score: found before, or now.

    Args:
        ground: the model.
        space: which.
        samples: how many are fitted on, and how many judge.
        compute: finds them.
    """

    def told() -> list[tuple[list[int], float, float]]:
        return [(kept.tolist(), float(error), float(score)) for kept, error, score in compute()]

    found = ground.job.checkpoints.value(_KIND, _name(ground, space, samples), told)
    return [(np.array(kept, np.intp), error, score) for kept, error, score in found]


def _name(ground: Ground, space: Space, samples: Sequence[int]) -> str:
    return json.dumps([ground.digest, list(samples), list(space.makers)])
