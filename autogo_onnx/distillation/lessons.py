"""Samples to learn from, and samples that judge what was learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from autogo_onnx import calibration
from autogo_onnx.errors import InputError
from autogo_onnx.ground import Ground
from autogo_onnx.samples import Samples
from autogo_onnx.training import require_torch

JUDGING_SHARE = 0.2
"""Of the samples to distil on. With labels, a bound on a loss of one point needs some thousand."""
MOST_JUDGING = 2_000
FEWEST = 64


@dataclass(frozen=True)
class Lessons:
    """What trained plans see.

    Attributes:
        learning: samples to learn from, with labels where the user gave them.
        judging: samples that nothing learns from: the calibration samples held out, and, where no
            metric of the user's judges, a part of those to distil on. Where only one of the two has
            labels, it judges alone.
    """

    learning: Samples
    judging: Samples

    @cached_property
    def digest(self) -> str:
        """Tells them apart from others."""
        return "".join(samples.digest for samples in (self.learning, self.judging))


def read_lessons(ground: Ground) -> Lessons:
    """Read the samples to distil on and share them out.

    Those that are among the calibration samples are left out: half of them judge.

    Raises:
        InputError: the samples cannot be read, do not fit the model, are too few or of other sizes
            than those to judge with; or torch is not installed.
    """
    require_torch()
    options = ground.options
    assert options.distill is not None, "the caller has looked"
    given = calibration.load(
        options.distill, ground.job.original, replace(options, labels=options.distill_labels)
    )
    if given.whole:
        raise InputError(f"{options.distill}: input {min(given.whole)!r} has no batch axis")
    known = {*_digests(ground.fit), *_digests(ground.held_out)}
    fresh = given.take([i for i, digest in enumerate(_digests(given)) if digest not in known])
    if len(fresh) < FEWEST:
        raise InputError(
            f"{options.distill} holds {len(fresh)} samples that are no calibration samples: at "
            f"least {FEWEST} are needed to train plans back"
        )
    if options.evaluate is not None:
        return Lessons(fresh, ground.held_out)
    back = min(round(JUDGING_SHARE * len(fresh)), MOST_JUDGING)
    learning, judging = calibration.split(fresh, seed=options.seed, held_out=back / len(fresh))
    return Lessons(learning, _together(ground.held_out, judging))


def _digests(samples: Samples) -> list[bytes]:
    names = sorted(samples.feeds)
    return [
        b"".join(samples.feeds[name][i].tobytes() for name in names) for i in range(len(samples))
    ]


def _together(one: Samples, other: Samples) -> Samples:
    if (one.labels is None) != (other.labels is None):
        return other if one.labels is None else one
    for name in one.feeds:
        shapes = [list(samples.feeds[name].shape[1:]) for samples in (one, other)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"input {name!r} is {shapes[0]} in the calibration samples and {shapes[1]} in "
                "those to distil on: both judge, so give one size"
            )
    feeds = {name: np.concatenate([a, other.feeds[name]]) for name, a in one.feeds.items()}
    labels = None
    if one.labels is not None and other.labels is not None:
        labels = np.concatenate([one.labels, other.labels])
    return replace(one, feeds=feeds, labels=labels)
