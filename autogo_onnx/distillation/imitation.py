"""How far a student's outputs are from the teacher's, as a number to minimize."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.class_drop import is_posterior
from autogo_onnx.quantities import SINGLE, Quantities
from autogo_onnx.torch_graph import TorchGraph
from autogo_onnx.training.course import scores_before_softmax

TEMPERATURE = 2.0
LABEL_SHARE = 0.5
_LEAST_P = 1e-30


@dataclass(frozen=True)
class Goal:
    """One output of the teacher that the student is to give.

    Attributes:
        tensor: the student's: the output itself, or for classes the scores before a Softmax.
        is_classes: whether it is scores of classes, of which only differences mean anything.
        are_probabilities: whether the teacher's, and
        is_probabilities: the student's, are probabilities already.
        weights: of squared errors, float32 of the shape of one sample's answer: see `Quantities`.
    """

    tensor: str
    is_classes: bool
    are_probabilities: bool
    is_probabilities: bool
    weights: Tensor


def goals(
    student: TorchGraph,
    names: Sequence[str],
    answers: Sequence[np.ndarray],
    quantities: Quantities = SINGLE,
) -> tuple[Goal, ...]:
    """What to imitate: the first output as classes where it is that, as the gate sees it.

    Args:
        student: has the teacher's outputs.
        names: of the outputs, and
        answers: some of the teacher's.
        quantities: of the outputs.
    """
    found = []
    for name, values in zip(names, answers, strict=True):
        are_scores = name == student.outputs[0] and quantities.are_classes(name, values)
        is_classes = are_scores and is_posterior(values)
        add_up = is_classes and _adds_up(values)
        tensor = scores_before_softmax(student, "classification") if is_classes else name
        weights = torch.from_numpy(quantities.weights(name, values).astype(np.float32))
        found.append(Goal(tensor, is_classes, add_up, add_up and tensor == name, weights))
    return tuple(found)


def distance(
    values: Mapping[str, Tensor], answers: Sequence[Tensor], wanted: Sequence[Goal]
) -> Tensor:
    """Sum over the outputs: distance of class scores, else errors in their unit."""
    total = torch.zeros(())
    for goal, theirs in zip(wanted, answers, strict=True):
        ours = values[goal.tensor]
        if goal.is_classes:
            log_q = _log_p(ours, goal.is_probabilities)
            total = total + class_distance(log_q, _log_p(theirs, goal.are_probabilities))
        else:
            total = total + ((ours - theirs).square() * goal.weights).sum() / len(theirs)
    return total


def class_distance(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Divergence at a temperature, and squared errors.

    Divergences heed the classes in question, which serves small students; a teacher that is sure
    says next to nothing by them, and large students learn the rest by heart. Half of the mean
    square of the scores is what the divergence comes to at a high temperature (decision 17).

    Args:
        log_q, log_p: log-probabilities of student and teacher, float[N,K].
    """
    return divergence(log_q, log_p, TEMPERATURE) + squared_errors(log_q, log_p)


def divergence(log_q: Tensor, log_p: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler, at a temperature, times its square (Hinton et al., 2015)."""
    softer = [torch.log_softmax(scores / temperature, 1) for scores in (log_q, log_p)]
    found = functional.kl_div(*softer, reduction="batchmean", log_target=True)
    return found * temperature**2


def squared_errors(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Half of their mean, but for what all classes share."""
    missed = log_q - log_p
    return (missed - missed.mean(1, keepdim=True)).square().mean() / 2


def label_loss(values: Mapping[str, Tensor], labels: Tensor, goal: Goal) -> Tensor:
    """Cross-entropy of the first output."""
    scores = values[goal.tensor]
    if goal.is_probabilities:
        scores = scores.clamp_min(_LEAST_P).log()
    return functional.cross_entropy(scores, labels)


def _log_p(scores: Tensor, are_probabilities: bool) -> Tensor:
    """Log-probabilities; classes that are ruled out are all alike."""
    if are_probabilities:
        return scores.clamp_min(_LEAST_P).log()
    return torch.log_softmax(scores, 1).clamp_min(math.log(_LEAST_P))


def _adds_up(values: np.ndarray) -> bool:
    return bool((values >= 0).all() and (np.abs(values.sum(1) - 1) < 1e-2).all())
