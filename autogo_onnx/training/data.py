"""What is trained on: inputs, and what the outputs should be.

| data | inputs | outputs |
| --- | --- | --- |
| `.npz` | an array per input, or one of any name | its `labels` or `targets`, if it has them |
| `.npy` | one array | from `--labels` or `--targets` |
| folder of images or arrays | as for calibration | likewise |
| folders of images in a folder (classification) | all images | a class per folder, by name |

`labels` are class indices int64[N], or int64[N,H,W] for segmentation, where 255 counts nothing.
`targets` are pictures float32[N,C,H,W]. Where super-resolution or denoising has neither targets nor
a teacher, the data are the clean pictures: their inputs are made by shrinking (bicubic), or by
adding noise. With a teacher they are inputs, which it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from autogo_onnx import calibration, images, signature
from autogo_onnx.errors import InputError
from autogo_onnx.options import Options
from autogo_onnx.sample_files import read_array, read_labels, read_npz
from autogo_onnx.training.options import TrainOptions

IGNORED = 255
"""A pixel of this class counts neither in the loss nor in the metric."""
FEWEST = 8
_TRUTHS = ("labels", "targets")
_DENSE = ("super-resolution", "denoising")


@dataclass(frozen=True)
class TrainingData:
    """Samples, one per entry of every array's leading axis.

    Attributes:
        inputs: by input name.
        truth: labels or targets; None where only a teacher knows.
        clean: the inputs are wanted outputs, from which inputs are still to be made.
    """

    inputs: Mapping[str, np.ndarray]
    truth: np.ndarray | None = None
    clean: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, indices: np.ndarray) -> TrainingData:
        """The samples at some positions, in that order."""
        inputs = {name: array[indices] for name, array in self.inputs.items()}
        return replace(
            self, inputs=inputs, truth=None if self.truth is None else self.truth[indices]
        )

    def split(self, held_out: float, seed: int) -> tuple[TrainingData, TrainingData]:
        """Two parts without a common sample: to train on, and a share, at least 2, to judge by."""
        back = min(max(round(len(self) * held_out), 2), len(self) - 2)
        order = np.random.default_rng([seed, 1]).permutation(len(self))
        return self.take(np.sort(order[back:])), self.take(np.sort(order[:back]))


def load(options: TrainOptions, model: onnx.ModelProto) -> TrainingData:
    """Read the data and check that the model can take it.

    Raises:
        InputError: nothing there, unreadable, not fitting, not finite, too little, or without what
            the task needs.
    """
    data = _read(options, model)
    if len(data) < FEWEST:
        raise InputError(f"{options.data} holds {len(data)} samples: at least {FEWEST} are needed")
    if data.truth is not None:
        _check_truth(data, options)
    elif options.teacher is None and not data.clean:
        raise InputError(
            f"{options.data} says nothing of the wanted outputs: give labels or targets "
            "(in the .npz, --labels, --targets), folders of classes, or a --teacher"
        )
    return data


def _read(options: TrainOptions, model: onnx.ModelProto) -> TrainingData:
    path, task = options.data, options.task
    if not path.exists():
        raise InputError(f"training data {path} does not exist")
    if path.is_dir() and task == "classification" and _class_folders(path):
        return _read_classes(options, model)
    arrays: dict[str, np.ndarray] = {}
    if path.suffix == ".npz" and path.is_file():
        arrays = read_npz(path)
    if not _has_truth(options, arrays) and task in _DENSE and options.teacher is None:
        return _read_clean(options, arrays, model)
    inputs = {name: array for name, array in arrays.items() if name not in _TRUTHS}
    if arrays:
        samples = calibration.arrange(inputs, model, path)
    else:
        samples = calibration.load(path, model, _of_images(options))
    if samples.whole:
        raise InputError(f"{path}: input {min(samples.whole)!r} has no batch axis to train with")
    return TrainingData(samples.feeds, _truth(options, arrays, len(samples)))


def _truth_of(options: TrainOptions) -> tuple[str, Path | None, Path | None]:
    """What the task calls its wanted outputs, the file that has them, and a file of others."""
    if options.task in _DENSE:
        return "targets", options.targets, options.labels
    return "labels", options.labels, options.targets


def _has_truth(options: TrainOptions, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether wanted outputs are given.

    Raises:
        InputError: twice, or not those that the task is about.
    """
    name, path, other = _truth_of(options)
    if other is not None:
        raise InputError(f"{options.task} takes {name}, not {other}")
    if path is not None and name in arrays:
        raise InputError(f"{name} are both in {options.data} and in {path}: keep one")
    return path is not None or name in arrays


def _truth(
    options: TrainOptions, arrays: Mapping[str, np.ndarray], count: int
) -> np.ndarray | None:
    name, path, _ = _truth_of(options)
    if path is None:
        return arrays.get(name)
    is_csv = name == "labels" and path.suffix == ".csv"
    return read_labels(path, count, None) if is_csv else read_array(path)


def _read_clean(
    options: TrainOptions, arrays: Mapping[str, np.ndarray], model: onnx.ModelProto
) -> TrainingData:
    """Clean pictures of any size: the model's declared input size is not theirs."""
    specs = signature.inputs(model)
    if len(specs) != 1 or len(arrays) > 1:
        raise InputError(f"{options.data}: without targets, one input and one array are needed")
    if arrays:
        pictures = next(iter(arrays.values()))
    elif options.data.is_dir():
        found = sorted(p for p in options.data.rglob("*") if p.suffix.lower() in images.SUFFIXES)
        if not found:
            raise InputError(f"{options.data} holds no images ({', '.join(images.SUFFIXES)})")
        plan = replace(images.plan(specs[0], _of_images(options)), height=None, width=None)
        pictures = images.read(found, plan, _of_images(options))
    else:
        pictures = read_array(options.data)
    if pictures.dtype.kind != "f" or pictures.ndim != 4 or not np.isfinite(pictures).all():
        raise InputError(
            f"{options.data}: pictures are {pictures.dtype} {list(pictures.shape)}: finite "
            "floating-point values [N,C,H,W] are needed"
        )
    return TrainingData({specs[0].name: pictures.astype(np.float32)}, clean=True)


def _class_folders(path: Path) -> list[Path]:
    """Sub-folders, where there are no images beside them."""
    entries = sorted(path.iterdir())
    if any(entry.suffix.lower() in images.SUFFIXES for entry in entries if entry.is_file()):
        return []
    return [entry for entry in entries if entry.is_dir()]


def _read_classes(options: TrainOptions, model: onnx.ModelProto) -> TrainingData:
    if options.labels is not None:
        raise InputError(f"{options.data} is sorted by class: leave --labels out")
    specs = signature.inputs(model)
    if len(specs) != 1:
        raise InputError(f"{options.data} feeds one input, the model has {len(specs)}: use .npz")
    files: list[Path] = []
    labels: list[int] = []
    for index, folder in enumerate(_class_folders(options.data)):
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in images.SUFFIXES)
        if not found:
            raise InputError(f"{folder} holds no images ({', '.join(images.SUFFIXES)})")
        files += found
        labels += [index] * len(found)
    pictures = images.read(files, images.plan(specs[0], _of_images(options)), _of_images(options))
    return TrainingData({specs[0].name: pictures}, np.array(labels, np.int64))


def _check_truth(data: TrainingData, options: TrainOptions) -> None:
    truth = data.truth
    assert truth is not None, "the caller has looked"
    ranks = {"classification": (1,), "segmentation": (3,)}.get(options.task, (4,))
    kinds = "f" if options.task in _DENSE else "iu"
    what = "targets" if options.task in _DENSE else "labels"
    if truth.ndim not in ranks or truth.dtype.kind not in kinds:
        wanted = {1: "class indices [N]", 3: "class indices [N,H,W]"}.get(
            ranks[0], "floating-point values [N,C,H,W]"
        )
        raise InputError(
            f"{what} of {options.data} are {truth.dtype} {list(truth.shape)}: {wanted} are needed"
        )
    if len(truth) != len(data):
        raise InputError(f"{what} of {options.data}: {len(truth)} for {len(data)} samples")
    if kinds == "f" and not np.isfinite(truth).all():
        raise InputError(f"{what} of {options.data} hold NaN or infinity")
    if kinds != "f" and truth.min() < 0:
        raise InputError(f"{what} of {options.data}: class indices begin at 0")
    if options.task == "segmentation" and (truth == IGNORED).all():
        raise InputError(f"{what} of {options.data} are all {IGNORED}: no pixel counts")


def _of_images(options: TrainOptions) -> Options:
    return Options(mean=options.mean, std=options.std, scale=options.scale, layout=options.layout)
