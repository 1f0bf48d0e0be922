"""What a task minimizes and how it is judged; tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.training.data import IGNORED


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        metric: its name; higher is better.
        loss: (output, truth) -> a number to minimize, the mean over the batch.
        imitation: (output, the teacher's, temperature) -> likewise.
        answer: a teacher's output as a truth, where there is no other.
        counts: (output, truth) -> float64[K] sums that add up over batches.
        figure: those sums -> the metric.
    """

    metric: str
    loss: Callable[[Tensor, Tensor], Tensor]
    imitation: Callable[[Tensor, Tensor, float], Tensor]
    answer: Callable[[Tensor], Tensor]
    counts: Callable[[Tensor, Tensor], Tensor]
    figure: Callable[[Tensor], float]


def _classes_last(scores: Tensor) -> Tensor:
    """float[N,K,...] -> float[M,K]; one score becomes the two of "no" and "yes"."""
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], 1)
    return scores.movedim(1, -1).reshape(-1, scores.shape[1])


def _class_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over the pixels that count; 0 where none does."""
    total = functional.cross_entropy(
        _classes_last(scores), labels.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
    return total / (labels != IGNORED).sum().clamp_min(1)


def _top_loss(scores: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(scores.flatten(1), labels)


def _divergence(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Of the student's class probabilities from the teacher's (Hinton et al., 2015)."""
    ours = torch.log_softmax(_classes_last(scores) / temperature, 1)
    theirs = torch.log_softmax(_classes_last(teacher) / temperature, 1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


def _most_likely(scores: Tensor) -> Tensor:
    if scores.shape[1] == 1:
        return (scores[:, 0] > 0).long()
    return scores.argmax(1)


def _top_counts(scores: Tensor, labels: Tensor) -> Tensor:
    right = (scores.flatten(1).argmax(1) == labels).sum()
    return torch.stack([right, torch.tensor(len(labels), device=right.device)]).double()


def _share(counts: Tensor) -> float:
    return float(counts[0] / counts[1])


def _overlaps(scores: Tensor, labels: Tensor) -> Tensor:
    """float64[2K]: per class the pixels found and true, then those found or true."""
    found, count = _most_likely(scores), max(2, scores.shape[1])
    both, either = [], []
    counted = labels != IGNORED
    for index in range(count):
        ours, theirs = (found == index) & counted, labels == index
        both.append((ours & theirs).sum())
        either.append((ours | theirs).sum())
    return torch.stack(both + either).double()


def _mean_overlap(counts: Tensor) -> float:
    both, either = counts.chunk(2)
    seen = either > 0
    return float((both[seen] / either[seen]).mean()) if seen.any() else 0.0


def picture_range(values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value of pictures: 0..1 or 0..255 where they lie within, else theirs.

    >>> picture_range(np.array([0.1, 0.9])), picture_range(np.array([3.0, 200.0]))
    ((0.0, 1.0), (0.0, 255.0))
    """
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 255:
        return 0.0, 1.0 if high <= 1 else 255.0
    return low, high


def dense(
    name: Literal["super-resolution", "denoising"], low: float = 0.0, high: float = 1.0
) -> Task:
    """Super-resolution or denoising of pictures of some range, to which outputs are clipped."""

    def counts(output: Tensor, target: Tensor) -> Tensor:
        error = (output.clamp(low, high) - target).double().pow(2).flatten(1).mean(1)
        decibels = -10 * torch.log10((error / (high - low) ** 2).clamp_min(1e-10))
        return torch.stack([decibels.sum(), torch.tensor(float(len(decibels))).to(decibels)])

    # Absolute errors keep edges sharper (Lim et al., 2017); squared ones are what noise asks for.
    loss = functional.l1_loss if name == "super-resolution" else functional.mse_loss
    return Task(
        metric="PSNR (dB)",
        loss=loss,
        imitation=lambda output, teacher, _: loss(output, teacher),
        answer=lambda output: output,
        counts=counts,
        figure=_share,
    )


CLASSIFICATION = Task(
    metric="top-1",
    loss=_top_loss,
    imitation=lambda s, t, heat: _divergence(s.flatten(1), t.flatten(1), heat),
    answer=lambda scores: scores.flatten(1).argmax(1),
    counts=_top_counts,
    figure=_share,
)
SEGMENTATION = Task(
    metric="mean IoU",
    loss=_class_loss,
    imitation=_divergence,
    answer=_most_likely,
    counts=_overlaps,
    figure=_mean_overlap,
)
