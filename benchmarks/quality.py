"""How good a changed model is on data that nothing was fitted on and nothing was chosen by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx

from autogo_onnx import verify
from autogo_onnx.fidelity import judge
from autogo_onnx.quantities import quantities_of
from autogo_onnx.runtime import open_session, run
from autogo_onnx.samples import Samples
from benchmarks import inputs

Labelled = Callable[[], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Figures:
    """Quality before and after, higher is better.

    Attributes:
        before, after: of the original and of the changed model.
        unit: `% top-1`, `dB on Set5` or `fidelity`.
        digits: worth printing.
        expected: for class scores the gate's figure on the same data, which needs no labels: the
            points of top-1 that should be lost.
    """

    before: float
    after: float
    unit: str
    digits: int = 2
    expected: float | None = None

    @property
    def lost(self) -> float:
        """What is lost; negative for a gain."""
        return self.before - self.after

    @property
    def text(self) -> str:
        """Before -> after, for a table."""
        text = f"{self.before:.{self.digits}f} -> {self.after:.{self.digits}f} {self.unit}"
        return text if self.expected is None else f"{text} (expected: -{self.expected:.2f})"


Judge = Callable[[Path], Figures]


class Quality(Protocol):
    """Tells how good changed models are.

    Must:
        - read its data only when `against` is called;
        - judge models with the original's inputs and outputs, and the original by the same data.
    """

    def against(self, original: Path) -> Judge:
        """What judges models that were made of the original."""
        ...


@dataclass(frozen=True)
class Top1:
    """Share of right answers in per cent, on labelled samples."""

    test: Labelled

    def against(self, original: Path) -> Judge:
        """See `Quality`."""
        samples, labels = self.test()
        before = scores_of(original, samples)

        def judged(model: Path) -> Figures:
            after = scores_of(model, samples)
            expected = 100.0 * (judge([before], [after], None).drop or 0.0)
            right, still = _per_cent_right(before, labels), _per_cent_right(after, labels)
            return Figures(right, still, "% top-1", expected=expected)

        return judged


def _per_cent_right(scores: np.ndarray, labels: np.ndarray) -> float:
    return 100.0 * float(_right(scores, labels).mean())


def _right(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    found: np.ndarray = scores.argmax(axis=1) == labels
    return found


def halves(test: Labelled) -> tuple[Labelled, Labelled]:
    """Every other sample, from the first and from the second on."""

    def half(first: int) -> tuple[np.ndarray, np.ndarray]:
        samples, labels = test()
        return samples[first::2], labels[first::2]

    return partial(half, 0), partial(half, 1)


def hits(model: Path, labelled: Labelled) -> np.ndarray:
    """Whether each sample is told right, bool[N]."""
    samples, labels = labelled()
    return _right(scores_of(model, samples), labels)


def scores_of(model: Path, samples: np.ndarray) -> np.ndarray:
    """The first output of a model on all samples, float[N,K]."""
    session = open_session(model)
    name = session.get_inputs()[0].name
    batches = [samples[start : start + 100] for start in range(0, len(samples), 100)]
    return np.concatenate([run(session, None, {name: batch})[0] for batch in batches])


@dataclass(frozen=True)
class Psnr:
    """Mean RGB PSNR in dB of x2 super-resolution on Set5."""

    def against(self, original: Path) -> Judge:
        """See `Quality`."""
        before = psnr_set5(original)
        return lambda model: Figures(before, psnr_set5(model), "dB on Set5")


def psnr_set5(model: Path) -> float:
    """Mean RGB PSNR in dB of x2 super-resolution on Set5."""
    session = open_session(model)
    name = session.get_inputs()[0].name
    figures = []
    for picture in inputs.set5():
        sharp = picture.crop((0, 0, picture.width // 2 * 2, picture.height // 2 * 2))
        small = np.asarray(inputs.low_resolution([sharp])[0])[None]
        made = run(session, None, {name: inputs.planar(small, [0] * 3, [255] * 3)})[0]
        wanted = np.asarray(sharp).transpose(2, 0, 1) / 255.0
        error = np.mean((np.clip(made[0], 0.0, 1.0) - wanted) ** 2)
        figures.append(-10.0 * np.log10(error))
    return float(np.mean(figures))


@dataclass(frozen=True)
class Faithful:
    """Closeness to the original where nobody has labels: 1 is equal.

    Of class scores the share of equal answers, else the explained share of the variance of the
    worst quantity.
    """

    samples: Callable[[], np.ndarray]

    def against(self, original: Path) -> Judge:
        """See `Quality`."""
        samples = self.samples()
        taken = _samples(original, samples)
        quantities = quantities_of(onnx.load(original), taken)
        before = quantities.split(verify.run(open_session(original), taken))

        def judged(model: Path) -> Figures:
            after = quantities.split(verify.run(open_session(model), taken))
            found = judge(before, after, None)
            same = 1.0 - found.nmse if found.agreement is None else found.agreement
            return Figures(1.0, same, "fidelity", digits=4)

        return judged


def _samples(model: Path, samples: np.ndarray) -> Samples:
    """Samples as a model of one input takes them."""
    taken = open_session(model).get_inputs()[0]
    only = taken.shape[0] if isinstance(taken.shape[0], int) else None
    return Samples({taken.name: samples}, batch=only)
