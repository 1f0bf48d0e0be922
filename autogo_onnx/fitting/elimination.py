"""Which input channels a convolution can do without, from moments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autogo_onnx.fitting.moments import Indices, Moments
from autogo_onnx.fitting.ridge import Array, damped


def keep_channels(m: Moments, channels: int, keep: int) -> Indices:
    """Input channels to keep, ascending: those that `elimination_order` drops last."""
    return np.sort(elimination_order(m, channels)[channels - keep :])


def elimination_order(m: Moments, channels: int) -> Indices:
    """All channels, in the order in which they can be dropped.

    Each step drops the channel whose loss, after all others are refitted, is smallest (the block
    form of optimal brain surgery): one pass gives the choice for every number of channels.

    With `A` the inverse Gram matrix, dropping block `b` leaves `A - A[:,b] inv(A[b,b]) A[b,:]`,
    which is Cholesky's algorithm with the channels as blocks, pivoted by loss. So `A` itself is
    never updated, only its factor, its diagonal blocks and the weights.
    """
    kernel = len(m.gram) // channels
    inverse = np.linalg.inv(damped(m.gram))
    weights = m.cross @ inverse
    factor = np.zeros_like(inverse)
    blocks = np.einsum("cpcq->cpq", inverse.reshape(channels, kernel, channels, kernel)).copy()
    alive = np.ones(channels, dtype=bool)
    order = np.empty(channels, dtype=np.intp)
    for step in range(channels):
        order[step] = worst = _cheapest(blocks, weights, alive)
        alive[worst] = False
        block, done = slice(worst * kernel, (worst + 1) * kernel), slice(0, step * kernel)
        column = inverse[:, block] - factor[:, done] @ factor[block, done].T
        root = np.linalg.inv(np.linalg.cholesky(column[block])).T
        new = column @ root
        factor[:, step * kernel : (step + 1) * kernel] = new
        weights = weights - (weights[:, block] @ root) @ new.T
        spread = new.reshape(channels, kernel, kernel)
        blocks -= spread @ spread.swapaxes(1, 2)
    return order


def _cheapest(blocks: Array, weights: Array, alive: NDArray[np.bool_]) -> int:
    """The channel alive whose loss raises the squared error least."""
    rest = np.flatnonzero(alive)
    split = weights.reshape(len(weights), *blocks.shape[:2])[:, rest].transpose(1, 2, 0)
    losses = np.einsum("cpo,cpo->c", split, np.linalg.solve(blocks[rest], split))
    return int(rest[np.argmin(losses)])
