"""Fits the devices of a predictor to published latencies: prices of operators, never negative.

A class of operators that no network on a device has takes the prices that all its operators have
in common, and classes with little evidence lean towards these. What every network of a family has
alike (a classifier, the one pool before it) is no evidence: its price cannot be told from a fixed
overhead. Errors are relative, and every family of networks counts alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from autogo_onnx.devices import Amounts, Device, HeldOut
from autogo_onnx.features.operators import CLASSES
from autogo_onnx.predictor_training.latency_tables import (
    SOURCES,
    Floats,
    Measurements,
    read,
)

NETWORKS = 1500
"""Of each source."""
LEANING = 1e-7
"""Ten times as much costs .01 of rank correlation on held-out networks of known families."""
HELD_OUT = 0.2
FEWEST = 50
"""Networks of a family on a device; with fewer, the family is not learnt from there."""
_TYPICAL_SHARE = 0.05
_LEAST_EVIDENCE = 1e-4


@dataclass(frozen=True)
class Measured:
    """Networks of one family and their latencies on one device: float64[N,C,4], float64[N] ms."""

    family: str
    amounts: Amounts
    milliseconds: Floats

    def take(self, chosen: NDArray[np.intp] | Sequence[int]) -> Measured:
        """Some of them."""
        return Measured(self.family, self.amounts[chosen], self.milliseconds[chosen])


@dataclass(frozen=True)
class Prices:
    """Milliseconds per unit of each amount, float64[C,4], and of a network whatever is in it."""

    of_amounts: Amounts
    overhead_ms: float


def devices(tables: Path, seed: int = 0) -> tuple[tuple[Device, ...], dict[str, str]]:
    """Every device of the published tables, by name, and the SHA-256 of each table.

    One of which too few networks were measured is left out.

    Args:
        tables: folder of the tables.
        seed: of the networks that are read and of those that are held out for the figures. The
            prices are then fitted to all of them.

    Raises:
        InputError: a table cannot be read.
    """
    found = [read(tables, source, NETWORKS, seed) for source in SOURCES]
    names = sorted({name for one in found for name in one.milliseconds})
    hashes = {one.table: one.sha256 for one in found}
    known = tuple(_device(name, found, seed) for name in names if measured_on(name, found))
    return known, hashes


def measured_on(name: str, found: Sequence[Measurements]) -> list[Measured]:
    """What is known of one device, by family; of families of which that is enough to learn from."""
    parts = []
    for one in found:
        if name in one.milliseconds:
            known = np.flatnonzero(np.isfinite(one.milliseconds[name]))
            whole = Measured(one.family, one.amounts, one.milliseconds[name])
            if len(known) >= FEWEST:
                parts.append(whole.take(known))
    return parts


def split(measured: Measured, seed: int) -> tuple[Measured, Measured]:
    """Networks to fit to, and those held out; networks of equal amounts stay together."""
    keys = [row.tobytes() for row in measured.amounts]
    distinct = sorted(set(keys))
    order = np.random.default_rng(seed).permutation(len(distinct))
    held_out = {distinct[n] for n in order[: round(HELD_OUT * len(distinct))]}
    is_held_out = np.array([key in held_out for key in keys])
    return (
        measured.take(np.flatnonzero(~is_held_out)),
        measured.take(np.flatnonzero(is_held_out)),
    )


def fit(parts: Sequence[Measured], leaning: float = LEANING) -> Prices:
    """Prices that give the latencies of all networks with least relative error.

    Args:
        parts: families measured on one device; each counts alike.
        leaning: towards the prices that all operators have in common; weight of that prior beside
            a mean squared relative error of 1, for a class whose amounts are good evidence.
    """
    amounts = np.concatenate([one.amounts for one in parts])
    times = np.concatenate([one.milliseconds for one in parts])
    weights = np.concatenate(
        [np.full(len(p.milliseconds), (len(parts) * len(p.milliseconds)) ** -0.5) for p in parts]
    )
    relative = weights / times
    together = np.column_stack([amounts.sum(axis=1), np.ones(len(times))])
    common, _ = nnls(together * relative[:, None], weights)
    # In units in which a price that matters is about 1, whatever it is a price of.
    typical = np.median(times) * _TYPICAL_SHARE / np.maximum(together.mean(axis=0), 1.0)
    unit = np.maximum(common, typical)
    by_class = (amounts * unit[:-1]).reshape(len(times), -1)
    rows = np.column_stack([by_class, together[:, -1] * unit[-1]]) * relative[:, None]
    prior = np.append(np.tile(common[:-1] / unit[:-1], amounts.shape[1]), common[-1] / unit[-1])
    strength = leaning / np.maximum(np.append(_evidence(parts), 1.0), _LEAST_EVIDENCE)
    found = _leaning_nnls(rows, weights, prior, strength)
    return Prices(found[:-1].reshape(amounts.shape[1:]) * unit[:-1], float(found[-1] * unit[-1]))


def _evidence(parts: Sequence[Measured]) -> Floats:
    """How much each amount varies within families: variance over mean square, float64[C*4]."""
    columns = [one.amounts.reshape(len(one.amounts), -1) for one in parts]
    variance = np.mean([c.var(axis=0) for c in columns], axis=0)
    square = np.mean([np.square(c).mean(axis=0) for c in columns], axis=0)
    evidence: Floats = variance / np.maximum(square, 1e-12)
    return evidence


def predicted(amounts: Amounts, prices: Prices) -> Floats:
    """Milliseconds float64[N] of networks float64[N,C,4]."""
    total: Floats = prices.overhead_ms + (amounts * prices.of_amounts).sum(axis=(1, 2))
    return total


def held_out(measured: Measured, prices: Prices) -> HeldOut:
    """How well prices tell the latencies of networks that they were not fitted to."""
    from scipy.stats import spearmanr

    guess = predicted(measured.amounts, prices)
    rank = spearmanr(guess, measured.milliseconds).statistic
    error = float(np.median(np.abs(guess / measured.milliseconds - 1)))
    return HeldOut(len(guess), float(rank) if np.isfinite(rank) else 0.0, error)


def _varied(parts: Sequence[Measured]) -> frozenset[str]:
    """Classes of operators that the networks of a family have in different amounts."""
    evidence = _evidence(parts).reshape(len(CLASSES), -1).max(axis=1)
    varied = evidence > _LEAST_EVIDENCE
    return frozenset(name for name, known in zip(CLASSES, varied, strict=True) if known)


def _device(name: str, found: Sequence[Measurements], seed: int) -> Device:
    parts = measured_on(name, found)
    halves = [split(one, seed) for one in parts]
    trial = fit([train for train, _ in halves])
    prices = fit(parts)
    times = np.concatenate([one.milliseconds for one in parts])
    sources = [one for one in found if name in one.milliseconds]
    return Device(
        name,
        prices.of_amounts,
        overhead_ms=prices.overhead_ms,
        range_ms=(float(times.min()), float(times.max())),
        classes=_varied(parts),
        held_out={t.family: held_out(t, trial) for _, t in halves if len(t.milliseconds) > 1},
        tables=tuple(dict.fromkeys(one.table for one in sources)),
        timed=sources[0].timed[name],
    )


def _leaning_nnls(rows: Floats, target: Floats, prior: Floats, leaning: Floats) -> Floats:
    """Least squares without negative unknowns, by the normal equations: there are few unknowns.

    `min |rows @ x - target|^2 + sum(leaning * (x - prior)^2)`, x >= 0, has the same solution as
    the triangular system that the Cholesky factor of its matrix gives.
    """
    matrix = rows.T @ rows + np.diag(leaning)
    right = rows.T @ target + leaning * prior
    factor = np.linalg.cholesky(matrix)
    found: Floats
    found, _ = nnls(factor.T, np.linalg.solve(factor, right), maxiter=50 * len(right))
    return found
