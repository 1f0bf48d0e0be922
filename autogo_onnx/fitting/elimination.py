"""Which input channels layers can do without, from moments: backward elimination.

Each step drops the channel whose loss, after all others are refitted, raises the error least (the
block form of optimal brain surgery): one pass gives the choice for every number of channels. Where
several layers read the same channels, the errors of all count, each as a share of its target's
variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.fitting.moments import Indices, Moments
from autogo_onnx.fitting.ridge import Array, damped


def keep_channels(m: Moments, channels: int, keep: int) -> Indices:
    """Input channels to keep, ascending: those that `elimination_order` drops last."""
    return np.sort(elimination_order(m, channels)[channels - keep :])


def elimination_order(m: Moments, channels: int) -> Indices:
    """All channels of one layer, in the order in which they can be dropped."""
    columns = np.arange(len(m.gram)).reshape(channels, -1)
    return dropping_order([Problem(m, columns)], channels)[0]


@dataclass(frozen=True)
class Problem:
    """One reader: the moments of what it reads, and the columns int[C,K] of each channel."""

    moments: Moments
    columns: Indices


def dropping_order(problems: Sequence[Problem], stop: int) -> tuple[Indices, Array]:
    """The channels in the order in which to drop them, and the error after each step.

    Args:
        problems: one per reader, at least one, all with the same C channels.
        stop: so many channels are dropped.

    Returns:
        int[stop] channels, and float64[stop]: how much the readers' errors, each a share of its
        target's variance, have grown in sum.
    """
    channels = len(problems[0].columns)
    states = [_Reader(problem, stop) for problem in problems]
    alive = np.ones(channels, bool)
    order, errors = np.empty(stop, np.intp), np.empty(stop)
    total = 0.0
    for step in range(stop):
        rest = np.flatnonzero(alive)
        losses = sum(state.losses(rest) for state in states)
        worst = int(rest[np.argmin(losses)])
        total += float(np.min(losses))
        order[step], errors[step] = worst, total
        alive[worst] = False
        for state in states:
            state.drop(worst, step)
    return order, errors


class _Reader:
    """The inverse Gram matrix of what is left: that of all, less the square of a growing factor.

    Dropping the columns `b` leaves `A - A[:,b] inv(A[b,b]) A[b,:]`: Cholesky's algorithm with
    channels for blocks, so that only the factor, the diagonal blocks and the weights are updated.
    """

    def __init__(self, problem: Problem, stop: int) -> None:
        m, self.columns = problem.moments, problem.columns
        self.inverse = np.linalg.inv(damped(m.gram))
        self.weights = m.cross @ self.inverse
        kernel = self.columns.shape[1]
        self.factor = np.zeros((len(m.gram), stop * kernel))
        self.blocks = self.inverse[self.columns[:, :, None], self.columns[:, None, :]]
        self.energy = max(m.energy, 1e-300)

    def losses(self, rest: NDArray[np.intp]) -> Array:
        """What the loss of each of the channels adds to the error, float64[len(rest)]."""
        split = self.weights[:, self.columns[rest]].transpose(1, 2, 0)
        found: Array = np.einsum("cko,cko->c", split, np.linalg.solve(self.blocks[rest], split))
        return found / self.energy

    def drop(self, channel: int, step: int) -> None:
        """The channel is gone; it was the `step`-th."""
        own, kernel = self.columns[channel], self.columns.shape[1]
        done, new = slice(0, step * kernel), slice(step * kernel, (step + 1) * kernel)
        column = self.inverse[:, own] - self.factor[:, done] @ self.factor[own, done].T
        root = np.linalg.inv(np.linalg.cholesky(column[own])).T
        self.factor[:, new] = column @ root
        self.weights = self.weights - (self.weights[:, own] @ root) @ self.factor[:, new].T
        spread = self.factor[:, new][self.columns]
        self.blocks -= spread @ spread.swapaxes(1, 2)
