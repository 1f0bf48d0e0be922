"""Least squares for depthwise-separable pairs, from moments.

Both alternate between the two convolutions; each half is linear, so the error never rises by more
than the ridge. A patch has `channels` channels of K kernel positions, in this order.
"""

from __future__ import annotations

import numpy as np

from autogo_onnx.fitting.moments import Moments
from autogo_onnx.fitting.ridge import TINY_RIDGE, Array, affordable, damped, solve

SWEEPS = 6
_CHUNK_ELEMENTS = 1 << 23


def depthwise_pointwise(m: Moments, channels: int, *, sweeps: int = SWEEPS) -> tuple[Array, Array]:
    """Depthwise then 1x1: `W[o,c,p] = point[o,c] depth[c,p]`.

    Returns:
        depth float64[C,K] and point float64[O,C].
    """
    kernel = len(m.gram) // channels
    blocks = damped(m.gram).reshape(channels, kernel, channels, kernel)
    cross = m.cross.reshape(-1, channels, kernel)
    depth = _leading_rows(m.solution.reshape(cross.shape).transpose(1, 0, 2))
    point = _best_point(blocks, cross, depth)
    for _ in range(sweeps):
        weighted = blocks * (point.T @ point)[:, None, :, None]
        right = np.einsum("oc,ocp->cp", point, cross).reshape(1, -1)
        depth = solve(weighted.reshape(m.gram.shape), right, TINY_RIDGE).reshape(channels, kernel)
        depth /= np.linalg.norm(depth, axis=1, keepdims=True) + 1e-30
        point = _best_point(blocks, cross, depth)
    return depth, point


def _best_point(blocks: Array, cross: Array, depth: Array) -> Array:
    half = np.matmul(blocks.transpose(2, 0, 1, 3), depth[:, None, :, None])[..., 0]
    gram = np.einsum("dcp,cp->cd", half, depth)
    return solve(gram, np.einsum("ocp,cp->oc", cross, depth), TINY_RIDGE)


def pointwise_depthwise(m: Moments, channels: int, *, sweeps: int = SWEEPS) -> tuple[Array, Array]:
    """1x1 then depthwise: `W[o,c,p] = depth[o,p] point[o,c]`, each output by itself.

    Returns:
        point float64[O,C] and depth float64[O,K].
    """
    kernel = len(m.gram) // channels
    blocks = damped(m.gram).reshape(channels, kernel, channels, kernel)
    pairs = np.ascontiguousarray(blocks.transpose(1, 3, 0, 2)).reshape(kernel**2, channels**2)
    cross = m.cross.reshape(-1, channels, kernel)
    depth = _leading_rows(m.solution.reshape(cross.shape))
    point = np.zeros((len(cross), channels))
    products = len(cross) * channels**2 * (2 * kernel**2 + channels // 3)
    chunk = max(1, _CHUNK_ELEMENTS // channels**2)
    for start in range(0, len(cross), chunk):
        some = slice(start, start + chunk)
        for _ in range(affordable(sweeps, products)):
            outer = depth[some, :, None] * depth[some, None, :]
            gram = outer.reshape(-1, kernel**2) @ pairs
            right = (cross[some] @ depth[some, :, None])[..., 0]
            point[some] = _solve_each(gram.reshape(-1, channels, channels), right)
            outer = point[some, :, None] * point[some, None, :]
            gram = outer.reshape(-1, channels**2) @ pairs.T
            right = (point[some, None, :] @ cross[some])[:, 0]
            depth[some] = _solve_each(gram.reshape(-1, kernel, kernel), right)
    return point, depth


def _solve_each(grams: Array, rights: Array) -> Array:
    """Ridge solutions float64[N,P] of float64[N,P,P] with one target each."""
    diagonal = np.arange(grams.shape[1])
    damping = TINY_RIDGE * np.trace(grams, axis1=1, axis2=2) / grams.shape[1]
    grams[:, diagonal, diagonal] += np.where(damping > 0.0, damping, 1.0)[:, None]
    return np.asarray(np.linalg.solve(grams, rights[..., None])[..., 0])


def _leading_rows(weights: Array) -> Array:
    """First right singular vector of each matrix of float64[N,M,K]: float64[N,K]."""
    _, vectors = np.linalg.eigh(weights.swapaxes(1, 2) @ weights)
    return np.ascontiguousarray(vectors[:, :, -1])
