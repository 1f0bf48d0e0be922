"""How far a student's outputs are from the teacher's, as a number to minimize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.class_drop import is_class_scores, is_posterior
from autogo_onnx.quantities import SINGLE, Quantities
from autogo_onnx.torch_graph import TorchGraph
from autogo_onnx.training.course import scores_before_softmax

TEMPERATURE = 2.0
"""Of 1, 2 and 4 the best on Fashion-MNIST, by the divergence at 1 on data not learnt from."""
LABEL_SHARE = 0.5
_LEAST_P = 1e-12


@dataclass(frozen=True)
class Goal:
    """One output of the teacher that the student is to give.

    Attributes:
        tensor: the student's: the output itself, or for classes the scores before a Softmax.
        is_classes: whether it is scores of classes, which are compared as probabilities.
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
        is_classes = name == student.outputs[0] and is_class_scores(values) and is_posterior(values)
        add_up = is_classes and _adds_up(values)
        tensor = scores_before_softmax(student, "classification") if is_classes else name
        weights = torch.from_numpy(quantities.weights(name, values).astype(np.float32))
        found.append(Goal(tensor, is_classes, add_up, add_up and tensor == name, weights))
    return tuple(found)


def distance(
    values: Mapping[str, Tensor], answers: Sequence[Tensor], wanted: Sequence[Goal]
) -> Tensor:
    """Sum over the outputs: divergence of class probabilities, else errors in their unit.

    Divergence: Kullback-Leibler at a temperature (Hinton et al., 2015).
    """
    total = torch.zeros(())
    for goal, theirs in zip(wanted, answers, strict=True):
        ours = values[goal.tensor]
        if goal.is_classes:
            p = _softened(theirs, goal.are_probabilities)
            q = _softened(ours, goal.is_probabilities)
            part = functional.kl_div(q, p, reduction="batchmean", log_target=True)
            total = total + part * TEMPERATURE**2
        else:
            total = total + ((ours - theirs).square() * goal.weights).sum() / len(theirs)
    return total


def label_loss(values: Mapping[str, Tensor], labels: Tensor, goal: Goal) -> Tensor:
    """Cross-entropy of the first output."""
    scores = values[goal.tensor]
    if goal.is_probabilities:
        scores = scores.clamp_min(_LEAST_P).log()
    return functional.cross_entropy(scores, labels)


def _softened(scores: Tensor, are_probabilities: bool) -> Tensor:
    if are_probabilities:
        scores = scores.clamp_min(_LEAST_P).log()
    return torch.log_softmax(scores / TEMPERATURE, 1)


def _adds_up(values: np.ndarray) -> bool:
    return bool((values >= 0).all() and (np.abs(values.sum(1) - 1) < 1e-2).all())
