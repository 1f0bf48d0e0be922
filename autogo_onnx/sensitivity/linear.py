"""Adjoints of matrix products, of means, and of operators that only move values."""

from __future__ import annotations

import numpy as np

from autogo_onnx.sensitivity.layer import Array, Layer, summed_to


def gemm(layer: Layer, gradient: Array) -> list[Array]:
    """A fully connected layer with constant weights."""
    weight = layer.operand(1) if layer.op.get("transB", 0) else layer.operand(1).T
    return [np.float32(layer.op.get("alpha", 1.0)) * (gradient @ weight)]


def matmul(layer: Layer, gradient: Array) -> list[Array]:
    """A product of matrices, one of which may be constant."""
    found = []
    for place in layer.varying:
        other = layer.operand(1 - place).swapaxes(-1, -2)
        product = gradient @ other if place == 0 else other @ gradient
        found.append(summed_to(product, layer.operand(place).shape))
    return found


def mean(layer: Layer, gradient: Array) -> list[Array]:
    """The mean over the axes that the result has lost, or keeps as one."""
    x = layer.source
    axes = tuple(layer.op.get("axes", range(2, x.ndim)))
    kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    share = np.float32(np.prod(kept) / max(1, x.size))
    return [np.broadcast_to(gradient.reshape(kept) * share, x.shape)]


def reshaped(layer: Layer, gradient: Array) -> list[Array]:
    """The same values in the same order."""
    return [gradient.reshape(layer.source.shape)]


def transposed(layer: Layer, gradient: Array) -> list[Array]:
    """Axes in another order."""
    order = layer.op.get("perm", tuple(range(gradient.ndim))[::-1])
    return [gradient.transpose(np.argsort(order))]


def joined(layer: Layer, gradient: Array) -> list[Array]:
    """Parts that lie one after another."""
    axis = layer.op.get("axis")
    stops = np.cumsum([layer.operand(i).shape[axis] for i in range(len(layer.operands))])[:-1]
    parts = np.split(gradient, stops, axis=axis)
    return [parts[i] for i in layer.varying]


def moved(layer: Layer, gradient: Array) -> list[Array]:
    """Values of one sample that are copied or left out: it is shown their numbers to see where."""
    from scipy.sparse import csr_array

    x = layer.source
    count = x[0].size
    numbers = np.arange(1, count + 1, dtype=np.float32).reshape(1, *x.shape[1:])
    origin = np.rint(layer.again([numbers])).astype(np.int64).reshape(-1)
    rows = np.flatnonzero(origin)  # Zero is padding.
    ones = np.ones(len(rows), np.float32)
    spread = csr_array((ones, (origin[rows] - 1, rows)), shape=(count, len(origin)))
    found = spread @ gradient.reshape(len(x), -1).T
    return [np.ascontiguousarray(found.T).reshape(x.shape)]
