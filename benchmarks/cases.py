"""Trained models to try `optimize` on: their samples, and how their quality is told on other data.

`CASES` are models of other people (`../shared/zoo`); `TRAINED` are written by
`benchmarks/train_fashion.py` and `train_cifar10.py` into a folder of the user's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import inputs
from benchmarks.quality import Faithful, Labelled, Psnr, Quality, Top1

ZOO = inputs.SHARED / "zoo"
SAMPLES = 512
FRESH = 1000
"""Seed of the pictures that fidelity is told on; those to calibrate with have smaller ones."""


@dataclass(frozen=True)
class Case:
    """A model.

    Attributes:
        model: name of its file, without the suffix.
        calibration: draws the unlabelled samples for `--calibration`, with a seed.
        quality: tells how good a changed model is.
        is_trained_here: whether one of those writes it.
        train: samples with labels that the network may learn from, where there are such.
        metric: function of `half_of_test.py` that judges it on half of its test samples.
    """

    model: str
    calibration: Callable[[int], np.ndarray]
    quality: Quality
    is_trained_here: bool = False
    train: Labelled | None = None
    metric: str | None = None

    def path(self, trained: Path | None = None) -> Path:
        """Its file; `trained` is the folder of models that are trained here."""
        folder = trained if self.is_trained_here and trained is not None else ZOO
        return folder / f"{self.model}.onnx"


def chosen(names: Sequence[str], trained: Path | None) -> list[Case]:
    """The cases with these names, or all whose files are there."""
    known = [*CASES, *(TRAINED if trained is not None else ())]
    return [c for c in known if (c.model in names if names else c.path(trained).exists())]


def drawn(labelled: Labelled, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """So many samples of a labelled set, drawn at random, and their labels."""
    samples, labels = labelled()
    chosen = np.random.default_rng(seed).permutation(len(samples))[:count]
    return samples[chosen], labels[chosen]


def _pictures(count: int, width: int, height: int, seed: int) -> np.ndarray:
    pictures = [*inputs.photographs(), *inputs.set5()]
    return inputs.crops(pictures, count, width, height, seed=seed)


def unlabelled(
    model: str, make: Callable[[int, int], np.ndarray], count: int, fresh: int = 64
) -> Case:
    """A model whose samples `make(count, seed)` makes, judged by fidelity on as many of others."""
    return Case(model, lambda seed: make(count, seed), Faithful(lambda: make(fresh, FRESH)))


def _yolox(count: int, seed: int) -> np.ndarray:
    return inputs.planar(_pictures(count, 416, 416, seed)[..., ::-1], [0] * 3, [1] * 3)


def _efficientnet(count: int, seed: int) -> np.ndarray:
    return inputs.planar(_pictures(count, 224, 224, seed) / 255.0, inputs.MEAN, inputs.STD)


def _ultraface(count: int, seed: int) -> np.ndarray:
    return inputs.planar(_pictures(count, 320, 240, seed), [127] * 3, [128] * 3)


def _small_photographs(seed: int) -> np.ndarray:
    small = inputs.low_resolution(inputs.photographs())
    return inputs.planar(inputs.crops(small, 64, 48, 48, seed=seed), [0] * 3, [255] * 3)


@dataclass(frozen=True)
class _Dataset:
    """Labelled samples, and the name of what judges in `half_of_test.py`."""

    train: Labelled
    test: Labelled
    metric: str

    def case(self, model: str, *, is_trained_here: bool = False) -> Case:
        """A classifier of these samples."""
        return Case(
            model,
            lambda seed: drawn(self.train, SAMPLES, seed)[0],
            Top1(self.test),
            is_trained_here,
            self.train,
            self.metric,
        )


_CIFAR10 = _Dataset(partial(inputs.cifar10, "train"), partial(inputs.cifar10, "test"), "cifar10")
_FASHION = _Dataset(
    partial(inputs.fashion_mnist, "train"), partial(inputs.fashion_mnist, "t10k"), "fashion_mnist"
)
CASES = (
    *(_CIFAR10.case(f"cifar10_resnet20_{export}") for export in ("dynamo", "bn", "folded")),
    _FASHION.case("fmnist_resnet8_bn"),
    Case("srgan_generator_x2_bn", _small_photographs, Psnr()),
    unlabelled("yolox_nano", _yolox, 64, fresh=32),
    unlabelled("efficientnet_lite0_bn", _efficientnet, 128),
    unlabelled("ultraface_version-RFB-320", _ultraface, 96),
    unlabelled(
        "ppocr_v2_cls", lambda count, seed: inputs.text_lines(count, seed=seed), 256, fresh=256
    ),
)
TRAINED = (
    *(_FASHION.case(f"{name}_fashion", is_trained_here=True) for name in ("vgg16", "resnet18")),
    *(_CIFAR10.case(f"{name}_cifar10", is_trained_here=True) for name in ("plain", "residual")),
)
