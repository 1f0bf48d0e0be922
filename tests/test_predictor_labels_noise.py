"""What repeated trainings say of labels is what a predictor that knows the truth would find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from autogo_onnx.predictor_training.judging import spearman
from autogo_onnx.predictor_training.labels import Labels
from benchmarks.noise_ceiling import ceiling_of


def labelled(repeats: Sequence[Sequence[float]]) -> Labels:
    return Labels(
        family="made_up",
        task="any",
        unit="",
        codes=tuple(map(str, range(len(repeats)))),
        repeats=tuple(map(tuple, repeats)),
        sha256="",
        neighbours_among=lambda codes: ((),) * len(codes),
    )


@pytest.mark.parametrize(("noise", "trainings"), [(0.1, 1), (0.3, 1), (0.3, 3)])
def test_the_ceiling_is_what_the_truth_reaches(noise: float, trainings: int) -> None:
    generator = np.random.default_rng(2)
    truth = generator.normal(90, 1, 1200)
    # Bad networks differ more from training to training.
    deviation = noise * (1 + (truth < 90))
    values = truth[:, None] + generator.normal(size=(1200, 3)) * deviation[:, None]
    labels = labelled(values[:, :trainings].tolist())
    repeated = [known.tolist() for known in values[::5]]
    found = ceiling_of(labels, repeated)
    reached = spearman(truth, labels.accuracies)
    assert found.networks == 240
    assert found.ceiling == pytest.approx(reached, abs=0.012)
    assert found.repeated == pytest.approx(spearman(*values[::5, :2].T), abs=0.03)
    assert noise < found.spread < 2 * noise


def test_the_same_seed_gives_the_same_ceiling() -> None:
    repeats = [(float(n), n + 0.5) for n in range(20)]
    assert ceiling_of(labelled(repeats), repeats) == ceiling_of(labelled(repeats), repeats)
