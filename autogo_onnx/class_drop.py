"""Loss of top-1 accuracy between two networks' class scores, with a bound for the unseen.

* `accuracy`: labels are known. The loss is counted: right before minus right after.
* `expected_drop`: the original's own posterior p stands in for labels: where the original says y
  and the changed network says z, the expected loss is p(y) - p(z). A flip between two classes that
  the original could hardly tell apart costs next to nothing.
* `disagreement`: every flip counts as a loss, as the caller wants it (`likely_flips`), or because
  the scores are no posterior (independent classes, or nearly flat whatever the input); accuracy
  cannot fall by more.

**Bound** (90 %, one-sided). Losses are rare, never negative and of uneven size, and often there is
none at all, where Student's t gives 0 +- 0. So this is Wilson's score bound, with the variance that
belongs to the bound itself: with losses of typical size s the mean m varies by s * m / n. One
pseudo-loss enters s; its size comes from *all* samples: where the log-odds between the
original's two best classes moved by e, a flip costs at most tanh(e / 2), and half of that on
average over the samples it can happen to. Models that hardly differ thus get a bound near zero
from few samples, others do not. Measured on a CIFAR-10 ResNet-20 with noise in its weights (97 %
to 73 % agreement, 128 samples), it holds in 80-96 % of draws, Student's t in 71-90 %.

**Labels** also show how far the posterior can be trusted: it is calibrated on them (one
temperature, Guo et al. 2017), and the bound on the loss expected under it serves too, unless the
counted loss is larger. Counting alone needs thousands of labels to resolve one point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from autogo_onnx.errors import InputError

ClassGate = Literal["accuracy", "expected_drop", "disagreement"]

Z_90 = 1.2815515655446004
"""The 90 % point of the standard normal distribution."""
_FLAT = 0.25  # Share of the way from chance to certainty below which scores are no posterior.
_SUM_TOLERANCE = 1e-2  # float16 probabilities add up to 1 this well.
_LEAST_P = 1e-12
# Temperatures tried, and how far from 1 they are expected (standard deviation of the logarithm).
_TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(8.0), 101))
_TEMPERATURE_SPREAD = 0.5
_ALIKE = 64
"""Samples that tell of one with about their margin; at most a quarter of all."""
# Of the loss expected after calibration; on the network above counted losses strayed 0.1-0.6.
_MODEL_ERROR = 0.5


@dataclass(frozen=True)
class ClassDrop:
    """Loss of top-1 accuracy (0.01 = one point).

    Attributes:
        gate: how it was found; see the module.
        mean: over the samples.
        bound: its 90 % upper bound.
        agreement: share of equal top-1 classes.
        accuracy_before: of the original, with labels.
        accuracy_after: of the changed network, with labels.
    """

    gate: ClassGate
    mean: float
    bound: float
    agreement: float
    accuracy_before: float | None = None
    accuracy_after: float | None = None


def is_class_scores(output: np.ndarray) -> bool:
    """Whether an output has the form of scores of classes: floating point, [N,K], K >= 2.

    Vectors of other values, which have that form as well, are taken apart before: `quantities`.
    """
    return output.dtype.kind == "f" and output.ndim == 2 and output.shape[1] >= 2


def class_drop(
    reference: np.ndarray,
    changed: np.ndarray,
    labels: np.ndarray | None,
    *,
    counts_flips: bool = False,
    temperature: float = 1.0,
) -> ClassDrop:
    """Loss from `reference` to `changed`.

    A sample whose scores are not finite counts as wrong, unless they are the original's.

    Args:
        reference: class scores of the original, float[N,K].
        changed: class scores of the changed network, float[N,K].
        labels: int[N] class indices, or None.
        counts_flips: whether every flip is a loss, whatever it does to the accuracy.
        temperature: of the original's posterior, where labels do not tell: see `overconfidence`.

    Raises:
        InputError: labels of another number or beyond the classes.
    """
    before, after = log_posterior(reference), log_posterior(changed)
    if labels is None:
        before, after = softened(before, temperature), softened(after, temperature)
    broken = _broken(reference, changed)
    top, new_top = before.argmax(axis=1), after.argmax(axis=1)
    flipped = (top != new_top) | broken
    agreement = float(1 - flipped.mean())
    posterior = not counts_flips and is_posterior(reference)
    moved = np.where(broken, 1.0, _possible_costs(before, after, posterior))
    told: tuple[float, float] | tuple[()] = ()
    if labels is not None:
        _check_labels(labels, reference)
        right, still = top == labels, (new_top == labels) & ~broken
        told = float(right.mean()), float(still.mean())
    if labels is None or counts_flips:
        gate: ClassGate = "expected_drop" if posterior else "disagreement"
        losses = flipped.astype(float)
        if posterior:
            losses = _expected(before, new_top, broken)
        elif counts_flips:
            losses = np.where(broken, 1.0, likely_flips(before, after))
        bound = bound_of_rare(losses, moved)
        return ClassDrop(gate, float(losses.mean()), bound, agreement, *told)
    losses = right.astype(float) - still
    bound = bound_of_counted(losses, moved)
    if posterior:
        calibrated = softened(before, temperature_of(before, labels))
        expected = _expected(calibrated, new_top, broken)
        bound = min(bound, max(float(losses.mean()), _bound_of_calibrated(expected, moved)))
    return ClassDrop("accuracy", float(losses.mean()), bound, agreement, *told)


def _broken(reference: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Which samples' scores are not finite in one of two networks, and other in the other."""
    odd = ~(np.isfinite(reference) & np.isfinite(changed)).all(axis=1)
    same = (reference == changed) | (np.isnan(reference) & np.isnan(changed))
    return np.asarray(odd & ~same.all(axis=1))


def likely_flips(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How likely each sample is to change its answer, by what happened to samples like it.

    An answer changes where its margin over the next class shrinks by more than there is. So each
    sample is told the share of those with about the same margin whose margins shrank by more than
    its own has. Flips are rare: counted, there are often none by luck, and who chooses among many
    networks finds the lucky ones. Measured on five networks, 256 samples: on average the truth, its
    spread two thirds of that of the count.

    Args:
        before, after: logarithms of class scores, float64[N,K], K >= 2.

    Returns:
        float64[N] in 0..1.
    """
    top = before.argmax(axis=1)
    margins = _margins(before, top)
    order = np.argsort(margins, kind="stable")
    sizes, shrunk = margins[order], (margins - _margins(after, top))[order]
    alike = min(_ALIKE, max(1, len(order) // 4))
    first = np.clip(np.arange(len(order)) - alike // 2, 0, len(order) - alike)
    neighbours = np.lib.stride_tricks.sliding_window_view(shrunk, alike)[first]
    likely = np.empty(len(order))
    likely[order] = (neighbours > sizes[:, None]).mean(axis=1)
    return likely


def _margins(log_p: np.ndarray, top: np.ndarray) -> np.ndarray:
    """By how much one class leads the best of the others, float64[N]."""
    rows, others = np.arange(len(log_p)), log_p.copy()
    others[rows, top] = -np.inf
    leads: np.ndarray = log_p[rows, top] - others.max(axis=1)
    return leads


def bound_of_rare(losses: np.ndarray, possible: np.ndarray) -> float:
    """90 % upper bound on the mean of losses in [0, 1], given possible costs in [0, 1].

    The largest mean m with `m - mean(losses) <= z * sqrt(s * m / n)`.
    """
    pseudo = possible.mean() / 2
    total = losses.sum() + pseudo
    if total == 0:
        return 0.0
    width = Z_90 * np.sqrt((np.sum(losses**2) + pseudo**2) / total / len(losses))
    root = (width + np.sqrt(width**2 + 4 * losses.mean())) / 2
    return float(min(root**2, 1.0))


def bound_of_counted(losses: np.ndarray, possible: np.ndarray) -> float:
    """90 % upper bound on the mean of losses in {-1, 0, 1}; gains may hide as many losses."""
    pseudo = possible.mean() / 2
    spread = np.sqrt(np.sum(losses**2) + pseudo**2) / len(losses)
    return float(min(losses.mean() + Z_90 * spread, 1.0))


def _bound_of_calibrated(losses: np.ndarray, possible: np.ndarray) -> float:
    """`bound_of_rare`, widened by how far a calibrated posterior may be off for these flips."""
    mean = float(losses.mean())
    drawn, modelled = bound_of_rare(losses, possible) - mean, Z_90 * _MODEL_ERROR * mean
    return min(mean + float(np.hypot(drawn, modelled)), 1.0)


def is_posterior(scores: np.ndarray) -> bool:
    """Whether the scores float[N,K] tell how sure the network is.

    Not if they are shares between 0 and 1 that do not add up (independent classes), nor if their
    softmax stays near chance (similarities, embeddings).
    """
    rows = scores[np.isfinite(scores).all(axis=1)]
    if not len(rows):
        return False
    if (rows >= 0).all() and (rows <= 1).all() and not adds_up(rows):
        return False
    chance = 1 / rows.shape[1]
    confidence = np.exp(log_posterior(rows)).max(axis=1).mean()
    return bool((confidence - chance) / (1 - chance) >= _FLAT)


def log_posterior(scores: np.ndarray) -> np.ndarray:
    """Logarithms float64[N,K] of the scores if they are probabilities, else of their softmax."""
    rows = np.nan_to_num(scores.astype(np.float64), nan=-1e30, posinf=1e30, neginf=-1e30)
    finite = rows[np.isfinite(scores).all(axis=1)]
    return np.log(np.maximum(rows, _LEAST_P)) if adds_up(finite) else _log_softmax(rows)


def softened(log_p: np.ndarray, temperature: float) -> np.ndarray:
    """Log-probabilities float64[N,K] at another temperature."""
    return log_p if temperature == 1.0 else _log_softmax(log_p / temperature)


def adds_up(rows: np.ndarray) -> bool:
    """Whether rows are probabilities, as far as float16 tells."""
    sums = rows.sum(axis=1, dtype=np.float64)
    return bool((rows >= 0).all() and (np.abs(sums - 1) <= _SUM_TOLERANCE).all())


def _log_softmax(rows: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = rows - rows.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _expected(log_p: np.ndarray, new_top: np.ndarray, broken: np.ndarray) -> np.ndarray:
    """Expected loss per sample, float64[N]: 0 where nothing flipped, 1 where nothing works."""
    rows = np.arange(len(log_p))
    losses = np.exp(log_p.max(axis=1)) - np.exp(log_p[rows, new_top])
    return np.where(broken, 1.0, losses)


def _possible_costs(before: np.ndarray, after: np.ndarray, posterior: bool) -> np.ndarray:
    """What a flip could cost at most per sample, float64[N] in 0..1; see the module.

    Without a posterior log-odds have no scale of their own: the mean margin is taken for one.
    """
    rows = np.arange(len(before))
    best, second = np.argsort(-before, axis=1, kind="stable")[:, :2].T
    margins = before[rows, best] - before[rows, second]
    moves = np.abs(margins - (after[rows, best] - after[rows, second]))
    scale = 2.0 if posterior else max(float(margins.mean()), _LEAST_P)
    costs: np.ndarray = np.tanh(moves / scale)
    return costs


def temperature_of(log_p: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that explains labels best, drawn towards 1 if they are few."""
    rows = np.arange(len(labels))

    def cost(temperature: float) -> float:
        unlikely = -softened(log_p, temperature)[rows, labels].sum()
        return float(unlikely + (np.log(temperature) / _TEMPERATURE_SPREAD) ** 2 / 2)

    return float(min(_TEMPERATURES, key=cost))


def _check_labels(labels: np.ndarray, scores: np.ndarray) -> None:
    if len(labels) != len(scores):
        raise InputError(f"{len(labels)} labels for {len(scores)} samples")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise InputError(
            f"labels run from {labels.min()} to {labels.max()}, "
            f"the model has {scores.shape[1]} classes"
        )
