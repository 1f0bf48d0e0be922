"""How far the outputs of a changed network are from the original's: the gate and its companions.

The first output, if it is class scores (float[N,K], K >= 2), gates by the loss of top-1 accuracy
(`class_drop`). All others gate by PSNR: the original's output is the signal and its range over
all samples the peak (`peak_power`). Where a model has both kinds, both must pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autogo_onnx.class_drop import Z_90, class_drop, is_class_scores
from autogo_onnx.errors import InputError

Gate = Literal["accuracy", "expected_drop", "disagreement", "psnr"]

PSNR_CAP_DB = 150.0
"""Outputs closer than this are equal: float32 itself ends at about 140 dB."""
NMSE_CAP = 1e9
"""Stands for an error without a finite share of the original's variance."""

_AT_A_TIME = 2**22
"""Values that are compared at a time: outputs may be pictures, and float64 is twice their size."""
MOST_PEAK = 10.0**2.5
"""Most that the squared peak counts for, in variances of the signal: so 45 dB are always at least
99 % of the variance. Scores of a detector are about zero at nearly all places; by their range of 1
alone, 45 dB was half of their variance."""

UNSEEN = 1.5
"""How much stricter the bound is without labels.

Unlabelled samples are often training samples, which a network is surer of: from training images
that no fit had seen to the 10,000 test images the expected loss grew 1.8-fold (ResNet-8,
Fashion-MNIST) and 2.5-fold (ResNet-20, CIFAR-10); `benchmarks/optimize_zoo.py` prints both. The
bound lies well above the mean already, so a smaller factor keeps the mean's growth within it.
"""


@dataclass(frozen=True)
class Fidelity:
    """Closeness of a changed network to the original on some samples.

    Attributes:
        gate: which figure decides.
        samples: how many were judged.
        drop: loss of top-1 accuracy (0.01 = one point); None without class scores.
        drop_bound: its 90 % upper bound.
        agreement: share of equal top-1 classes; None without class scores.
        nmse: mean squared error over the original's variance; the worst output, or quantity.
        psnr_db: over all samples; the worst output, or quantity, that is no class scores.
        psnr_bound_db: its 90 % lower bound; None where all outputs are class scores.
        accuracy_before: top-1 of the original, with labels.
        accuracy_after: top-1 of the changed network, with labels.
    """

    gate: Gate
    samples: int
    drop: float | None
    drop_bound: float | None
    agreement: float | None
    nmse: float
    psnr_db: float | None
    psnr_bound_db: float | None
    accuracy_before: float | None = None
    accuracy_after: float | None = None

    @property
    def error(self) -> float:
        """What plans are compared by: the worst `nmse`, or the worst dB told in `error_unit`."""
        if self.psnr_db is None:
            return self.nmse
        return max(self.nmse, error_at(self.psnr_db))

    def most_drop(self, max_drop: float) -> float:
        """The limit of `drop_bound`: without labels it is stricter, see `UNSEEN`."""
        return max_drop / UNSEEN if self.gate == "expected_drop" else max_drop

    def passes(self, *, max_drop: float, min_psnr: float) -> bool:
        """Whether every output keeps its limit, bounds included."""
        keeps_classes = self.drop_bound is None or self.drop_bound <= self.most_drop(max_drop)
        return keeps_classes and (self.psnr_bound_db is None or self.psnr_bound_db >= min_psnr)


def judge(
    reference: Sequence[np.ndarray],
    changed: Sequence[np.ndarray],
    labels: np.ndarray | None,
    *,
    counts_flips: bool = False,
    temperature: float = 1.0,
) -> Fidelity:
    """Compare the outputs of two networks on the same samples.

    NaN and infinity are no error: where the original has the same they are equal, elsewhere they
    are the worst that can be.

    Args:
        reference: per graph output an array whose leading axis counts samples.
        changed: the same of the changed network.
        labels: int[N] class indices of the first output, or None.
        counts_flips: whether every change of the top-1 class is a loss, see `class_drop`.
        temperature: of the original's class scores without labels, see `overconfidence`.

    Raises:
        InputError: fewer than two samples, other shapes, or labels that do not fit.
    """
    _check(reference, changed)
    pairs = list(zip(reference, changed, strict=True))
    scores = is_class_scores(reference[0])
    distances = [_Distance.between(old, new) for old, new in pairs]
    psnr = [distance.psnr_db for distance in distances[1 if scores else 0 :]]
    psnr_db, psnr_bound_db = min(psnr, key=lambda p: p[1], default=(None, None))
    nmse = max(distance.nmse for distance in distances)
    count = len(reference[0])
    if not scores:
        return Fidelity("psnr", count, None, None, None, nmse, psnr_db, psnr_bound_db)
    drop = class_drop(
        reference[0], changed[0], labels, counts_flips=counts_flips, temperature=temperature
    )
    return Fidelity(
        gate=drop.gate,
        samples=count,
        drop=drop.mean,
        drop_bound=drop.bound,
        agreement=drop.agreement,
        nmse=nmse,
        psnr_db=psnr_db,
        psnr_bound_db=psnr_bound_db,
        accuracy_before=drop.accuracy_before,
        accuracy_after=drop.accuracy_after,
    )


def _check(reference: Sequence[np.ndarray], changed: Sequence[np.ndarray]) -> None:
    shapes, new_shapes = [r.shape for r in reference], [c.shape for c in changed]
    if shapes != new_shapes:
        raise InputError(f"outputs have shapes {new_shapes} instead of {shapes}")
    if not shapes or min(s[0] if s else 0 for s in shapes) < 2:
        raise InputError(f"outputs {shapes} are too few samples to judge by: at least 2 are needed")


@dataclass(frozen=True)
class _Distance:
    """Between an output of two networks.

    Attributes:
        errors: mean squared error of every sample, float64[N].
        spread: of the original's values.
    """

    errors: np.ndarray
    spread: Spread

    @classmethod
    def between(cls, reference: np.ndarray, changed: np.ndarray) -> _Distance:
        with np.errstate(all="ignore"):
            errors = [np.mean((a - b) ** 2, axis=1) for a, b in _pieces(reference, changed)]
            spread = Spread.of(lambda: (a for a, _ in _pieces(reference, changed)))
        return cls(np.concatenate(errors), spread)

    @property
    def nmse(self) -> float:
        """The mean error over the variance."""
        error, power = float(self.errors.mean()), self.spread.variance
        if error == 0:
            return 0.0
        usable = math.isfinite(error) and math.isfinite(power) and power > 0
        return min(error / power, NMSE_CAP) if usable else NMSE_CAP

    @property
    def psnr_db(self) -> tuple[float, float]:
        """The peak signal-to-noise ratio over all samples, and its 90 % lower bound.

        Of the mean squared error, not the mean of the samples' ratios: some good samples do not
        make up for a bad one.
        """
        errors = self.errors
        if not np.isfinite(errors).all():
            return -PSNR_CAP_DB, -PSNR_CAP_DB
        power, mean = self.spread.peak_power, float(errors.mean())
        most = mean + _t_90(len(errors) - 1) * float(errors.std(ddof=1)) / math.sqrt(len(errors))
        return _decibels(power, mean), _decibels(power, most)


def _pieces(reference: np.ndarray, changed: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some samples of both at a time, as float64[N,values].

    Where both hold the same NaN or infinity, both are 0. Texts are 0 in the one, and in the other 1
    where they differ.
    """
    for rows in some_rows(reference):
        a, b = (values[rows].reshape(len(values[rows]), -1) for values in (reference, changed))
        if a.dtype.hasobject:
            differs = np.asarray(a != b, np.float64)
            yield np.zeros_like(differs), differs
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        alike = ~np.isfinite(a) & ((a == b) | (np.isnan(a) & np.isnan(b)))
        a[alike] = b[alike] = 0.0
        yield a, b


def some_rows(values: np.ndarray) -> Iterator[slice]:
    """All rows, so many at a time as are worked on in float64."""
    step = max(1, _AT_A_TIME * len(values) // max(1, values.size))
    for start in range(0, len(values), step):
        yield slice(start, start + step)


def _decibels(power: float, error: float) -> float:
    if error == 0:
        return PSNR_CAP_DB
    if not 0 < power < math.inf:
        return -PSNR_CAP_DB
    return min(PSNR_CAP_DB, max(-PSNR_CAP_DB, 10 * math.log10(power / error)))


@dataclass(frozen=True)
class Spread:
    """Of a signal's values: their variance, and the difference of the largest and the least."""

    variance: float
    range: float

    @classmethod
    def of(cls, pieces: Callable[[], Iterator[np.ndarray]]) -> Spread:
        """Of some pieces, which are gone through twice."""
        count, total, least, most = 0, 0.0, math.inf, -math.inf
        for piece in pieces():
            if piece.size:
                count, total = count + piece.size, total + float(piece.sum(dtype=np.float64))
                least, most = min(least, float(piece.min())), max(most, float(piece.max()))
        if not count:
            return cls(0.0, 0.0)
        mean = total / count
        squares = (float(np.square(p.astype(np.float64) - mean).sum()) for p in pieces())
        return cls(sum(squares) / count, most - least)

    @property
    def peak_power(self) -> float:
        """The squared peak that a noise ratio is told by: at most `MOST_PEAK` variances."""
        return min(self.range**2, MOST_PEAK * self.variance)


def peak_power(signal: np.ndarray) -> float:
    """The squared peak that a noise ratio is told by: the range, at most `MOST_PEAK` variances."""
    if not signal.ndim:
        return 0.0
    return Spread.of(lambda: (signal[rows] for rows in some_rows(signal))).peak_power


def error_unit(signal: np.ndarray) -> float:
    """The squared error that counts as one: the variance, or less where the peak is low.

    So told, 45 dB are an error of .01 in every signal.
    """
    return peak_power(signal) / MOST_PEAK


def error_at(psnr_db: float) -> float:
    """The error in `error_unit` of a noise ratio.

    >>> round(error_at(45.0), 9)
    0.01
    """
    return float(MOST_PEAK / 10 ** (psnr_db / 10))


def _t_90(freedom: int) -> float:
    """The 90 % point of Student's t: exact for 1 and 2 degrees, within 1 % beyond.

    Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5).
    """
    if freedom <= 2:
        return (3.0776835371752527, 1.8856180831641267)[freedom - 1]
    z = Z_90
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
