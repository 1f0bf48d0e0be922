"""Least squares for dense and low-rank convolution weights, from moments.

Every function takes `Moments` over patch columns ordered (channel, y, x) and returns weights in
float64. The error that all of them reduce is `E|t - W x - b|^2`; `Moments.error` tells it. They
are data-aware on purpose: a factorization of the weights alone kept 97 % of the energy and lost
every answer of a text recognizer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autogo_onnx.fitting.moments import Indices, Moments
from autogo_onnx.fitting.ridge import TINY_RIDGE, Array, affordable, damped, solve

PRIOR_RIDGE = 0.1
"""Towards weights that were trained. With as little as elsewhere, the classifier of a CIFAR-10
network learnt its 256 samples by heart: the divergence on others was a tenth larger."""
SWEEPS = 12
CONJUGATE_STEPS = 8
# Sweeps end when one lowers the error by a smaller share than this.
_WORTH_A_SWEEP = 0.003
_CONVERGED = 1e-14


def dense(m: Moments, prior: Array | None = None) -> Array:
    """Unstructured weights float64[O,P], drawn towards `prior` where the data are silent."""
    if prior is None:
        return m.solution
    return prior + solve(m.gram, m.cross - prior @ m.gram, PRIOR_RIDGE)


def factorized(
    m: Moments, columns: Indices, rank: int, *, sweeps: int = SWEEPS
) -> tuple[Array, Array]:
    """Two convolutions in a row: `W[:, columns[q]] = outer[q] @ inner`.

    Row `q` of `columns` (int[Q,I]) lists the patch columns that the first convolution reads when
    the second one stands at its kernel position `q`; together they list every column once. A 3x1
    then 1x3 pair has Q = 3 and I = 3 C, a 1x1 then 3x3 pair Q = 9 and I = C, a 3x3 then 1x1 pair
    Q = 1, which has a closed form (reduced-rank regression). The others alternate: ridge for the
    outer weights, conjugate gradients with a Kronecker preconditioner for the inner ones.

    Returns:
        inner float64[rank,I] and outer float64[Q,O,rank].
    """
    positions = len(columns)
    order = columns.reshape(-1)
    full, cross = m.solution[:, order], m.cross[:, order]
    if positions == 1:
        return _reduced_rank(full, cross, rank)
    problem = _Pair(damped(m.gram[np.ix_(order, order)]), cross, positions)
    inner = _leading_directions(full, problem, min(rank, problem.width))
    outer, explained = problem.best_outer(inner)
    for _ in range(affordable(sweeps, CONJUGATE_STEPS * rank * len(m.gram) ** 2)):
        inner = _orthonormal(problem.better_inner(inner, outer), problem.mean_block)
        outer, more = problem.best_outer(inner)
        gain, explained = more - explained, more
        if gain < _WORTH_A_SWEEP * (m.energy - explained):
            break
    return _widened(inner, outer, rank)


def composed(inner: Array, outer: Array) -> Array:
    """The weights that a factorized pair amounts to, over `columns.reshape(-1)`: float64[O,Q*I]."""
    product = outer @ inner
    return product.transpose(1, 0, 2).reshape(outer.shape[1], -1)


def _reduced_rank(full: Array, cross: Array, rank: int) -> tuple[Array, Array]:
    """The ridge solution on the targets' directions that it explains best (Izenman 1975)."""
    explained = full @ cross.T
    _, vectors = np.linalg.eigh((explained + explained.T) / 2)
    leading = vectors[:, ::-1][:, :rank]
    return _widened(leading.T @ full, leading[None], rank)


def _widened(inner: Array, outer: Array, rank: int) -> tuple[Array, Array]:
    """Channels of zeros where the rank is above what inputs or outputs can use."""
    more = rank - len(inner)
    return np.pad(inner, ((0, more), (0, 0))), np.pad(outer, ((0, 0), (0, 0), (0, more)))


class _Pair:
    """The quadratic problem of two convolutions over columns in the order (position, inner).

    The Gram matrix is damped: the ridge is on the weights that both amount to.
    """

    def __init__(self, gram: Array, cross: Array, positions: int) -> None:
        self.gram = gram
        self.cross = cross
        self.positions = positions
        self.outputs = len(cross)
        self.width = len(gram) // positions
        blocks = gram.reshape(positions, self.width, positions, self.width)
        self.mean_block = np.einsum("qiqj->ij", blocks) / positions
        self.mean_inverse = np.linalg.inv(self.mean_block)

    def best_outer(self, inner: Array) -> tuple[Array, float]:
        """Ridge weights float64[Q,O,rank] of the second convolution, and the energy explained."""
        size = self.positions * len(inner)
        half = (self.gram.reshape(-1, self.width) @ inner.T).reshape(len(self.gram), size)
        gram = (inner @ half.reshape(self.positions, self.width, size)).reshape(size, size)
        cross = (self.cross.reshape(-1, self.width) @ inner.T).reshape(self.outputs, size)
        weights = solve(gram, cross, TINY_RIDGE)
        explained = float(np.vdot(weights, 2.0 * cross - weights @ gram))
        return weights.reshape(self.outputs, self.positions, -1).transpose(1, 0, 2), explained

    def better_inner(self, inner: Array, outer: Array) -> Array:
        """First weights float64[rank,I] after some conjugate-gradient steps, `outer` held."""
        rank = len(inner)
        flat = outer.transpose(1, 0, 2).reshape(self.outputs, -1)
        products = (flat.T @ flat).reshape(self.positions, rank, self.positions, rank)
        by_position = products.reshape(self.positions, rank, -1)
        rows = self.gram.reshape(self.positions, self.width, -1)
        scale = np.linalg.inv(damped(np.einsum("qrqs->rs", products), TINY_RIDGE))

        def curve(x: Array) -> Array:
            seen = (x @ rows).reshape(-1, self.positions, self.width).transpose(1, 0, 2)
            return np.asarray((by_position @ seen).sum(axis=0))

        def precondition(x: Array) -> Array:
            return np.asarray(scale @ x @ self.mean_inverse)

        split = self.cross.reshape(self.outputs, self.positions, self.width).transpose(1, 2, 0)
        right = np.asarray((split @ outer).sum(axis=0)).T
        return inner + _conjugate_gradients(right - curve(inner), curve, precondition)


def _conjugate_gradients(
    right: Array, curve: Callable[[Array], Array], precondition: Callable[[Array], Array]
) -> Array:
    """`x` with `curve(x)` near `right`, from zero; every step lowers the error."""
    x, residual = np.zeros_like(right), right
    direction = step = precondition(residual)
    power = start = float(np.vdot(residual, step))
    for _ in range(CONJUGATE_STEPS):
        if power <= _CONVERGED * start:
            break
        curved = curve(direction)
        length = power / float(np.vdot(direction, curved))
        x = x + length * direction
        residual = residual - length * curved
        step = precondition(residual)
        power, previous = float(np.vdot(residual, step)), power
        direction = step + (power / previous) * direction
    return x


def _leading_directions(full: Array, problem: _Pair, rank: int) -> Array:
    """Start: the inputs' directions that the unstructured weights use most, whitened."""
    width = problem.width
    stacked = full.reshape(-1, width)
    root = np.linalg.cholesky(problem.mean_block)
    weighted = root.T @ (stacked.T @ stacked) @ root
    _, vectors = np.linalg.eigh((weighted + weighted.T) / 2)
    return np.asarray(np.linalg.solve(root.T, vectors[:, ::-1][:, :rank]).T)


def _orthonormal(inner: Array, mean_block: Array) -> Array:
    """The same subspace with unit covariance, so that the ridge treats all directions alike."""
    root = np.linalg.cholesky(damped(inner @ mean_block @ inner.T, TINY_RIDGE))
    return np.asarray(np.linalg.solve(root, inner))
