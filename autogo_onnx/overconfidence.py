"""How much surer a classifier is than it should be, told by mirrored pictures instead of labels.

A network that is right on 94 of 100 pictures that it has not learnt gives them and their mirror
images the same class in about 94 cases or more: two views of one picture differ less than a picture
and the truth. (Of independently trained networks the shares are equal: Jiang et al., "Assessing
generalization of SGD via disagreement", 2022.) Where it agrees with itself less often than it
claims to be right, it is overconfident, or knows the pictures by heart; their mirror images it has
not seen then. On these it is judged, at the temperature (Guo et al., 2017) at which it claims no
more than that.

That holds where mirroring leaves the class as it is: not for text, nor for arrows. Such classes
turn into others one and all, and where any does, nothing is concluded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autogo_onnx.class_drop import Z_90, is_posterior, log_posterior, softened

LEAST_AGREEMENT = 0.7
"""Below, another view is no small change to this network."""
_FEWEST_OF_CLASS, _LEAST_OF_CLASS = 4, 1 / 3
"""Samples that a class is judged by, and the share of them that must stay in it."""
_MOST_UNJUDGED = 0.2
"""Of all samples may be of classes that have fewer."""
_HIGHEST = 3.0
_STEPS = 40


@dataclass(frozen=True)
class Overconfidence:
    """What mirrored pictures tell.

    Attributes:
        claimed: mean probability of the likeliest class, of the pictures as they are.
        agreement: share of the pictures that stay in their class when they are mirrored.
        temperature: what to divide class scores of mirrored pictures by, 1 or more.
    """

    claimed: float
    agreement: float
    temperature: float

    def __str__(self) -> str:
        """In a sentence."""
        return (
            f"the model is overconfident: it claims to be right on {100 * self.claimed:.0f} % of "
            f"the samples, and only {100 * self.agreement:.0f} % keep their class when they are "
            f"mirrored; so it is judged on mirrored samples, at temperature {self.temperature:.1f}"
        )


def overconfidence(scores: np.ndarray, reflected: np.ndarray) -> Overconfidence | None:
    """How overconfident a network is; None where it is not, or where it cannot be told.

    Agreement is taken at its 90 % upper bound: few samples tell little.

    Args:
        scores: of the pictures, float[N,K]: probabilities, or what a Softmax makes such of.
        reflected: of the mirrored pictures, float[N,K].
    """
    if not is_posterior(scores):
        return None
    keeps = scores.argmax(axis=1) == reflected.argmax(axis=1)
    agreement = float(keeps.mean())
    most = agreement + Z_90 * float(keeps.std()) / len(keeps) ** 0.5
    claimed = _claimed(log_posterior(scores), 1.0)
    is_natural = agrees(scores, reflected) and keeps_classes(scores, reflected)
    if claimed <= most or not is_natural:
        return None
    return Overconfidence(claimed, agreement, _temperature(log_posterior(reflected), most))


def agrees(scores: np.ndarray, others: np.ndarray) -> bool:
    """Whether a classifier keeps most of its answers in another view.

    Args:
        scores: of pictures, float[N,K].
        others: of another view of them, float[N,K].
    """
    keeps = scores.argmax(axis=1) == others.argmax(axis=1)
    return bool(keeps.mean() >= LEAST_AGREEMENT)


def keeps_classes(scores: np.ndarray, reflected: np.ndarray) -> bool:
    """Whether no class turns into another one when it is mirrored, as far as that can be told."""
    top = scores.argmax(axis=1)
    counts = np.bincount(top)
    kept = np.bincount(top, weights=top == reflected.argmax(axis=1))
    judged = counts >= _FEWEST_OF_CLASS
    unjudged = 1 - counts[judged].sum() / len(top)
    turned = kept[judged] < _LEAST_OF_CLASS * counts[judged]
    return bool(unjudged <= _MOST_UNJUDGED and not turned.any())


def _temperature(log_p: np.ndarray, claimed: float) -> float:
    """At which the network claims so much, by bisection; 1 where it claims less already."""
    low, high = 1.0, _HIGHEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _claimed(log_p, middle) > claimed else (low, middle)
    return low


def _claimed(log_p: np.ndarray, temperature: float) -> float:
    return float(np.exp(softened(log_p, temperature)).max(axis=1).mean())
