"""What a loss could not be computed from is refused here, before an epoch is spent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from torch import Tensor

from autogo_onnx import signature
from autogo_onnx.errors import InputError
from autogo_onnx.training.course import Course
from autogo_onnx.training.data import IGNORED, TrainingData
from autogo_onnx.training.options import TrainOptions

_CHANNEL_COUNTS = (1, 3)


def check_augmentation(data: TrainingData, options: TrainOptions) -> None:
    """Refuse to change at random what is no picture, or whose truth could not follow.

    Raises:
        InputError: several inputs, no float[N,C,H,W], or labels or targets of an odd size.
    """
    if options.augment == "none":
        return
    name, pictures = next(iter(data.inputs.items()))
    shape = list(pictures.shape[1:])
    is_last = len(shape) == 3 and shape[2] in _CHANNEL_COUNTS and shape[0] not in _CHANNEL_COUNTS
    if len(data.inputs) > 1 or len(shape) != 3 or is_last:
        raise InputError(
            f"--augment changes one input of pictures [N,C,H,W]; input {name!r} is [N, "
            f"{', '.join(map(str, shape))}]: leave it out"
        )
    if data.truth is not None and data.truth.ndim > 1 and options.augment != "flip":
        sizes = list(data.truth.shape[-2:])
        if any(ours % theirs for ours, theirs in zip(sizes, shape[1:], strict=True)):
            raise InputError(
                f"labels or targets of {sizes} cannot be moved like pictures of {shape[1:]}: "
                "use --augment flip"
            )


def check_output(course: Course, model: onnx.ModelProto, truth: np.ndarray | None) -> None:
    """Refuse a network and data that do not fit each other.

    Args:
        course: without a teacher yet.
        model: what its graph was made of.
        truth: of all samples, those held out too; None where only a teacher knows.

    Raises:
        InputError: labels beyond the classes, other sizes, or an output that is not finite or
            without gradients.
    """
    feeds, wanted = course.some(1)
    output = _answer(course, model, feeds)
    name, shape = course.graph.outputs[0], list(output.shape)
    if not output.dtype.is_floating_point or not output.requires_grad:
        raise InputError(f"output {name!r} depends on no weight by a gradient: nothing to train")
    if output.dim() < 2:
        raise InputError(f"output {name!r} is {shape}: it has no batch and class axis")
    if not course.options.from_scratch and not output.isfinite().all():
        raise InputError(f"output {name!r} of the model holds NaN or infinity on the data")
    if truth is None:
        if wanted is not None and list(wanted.shape) != shape:
            raise InputError(f"pictures are {list(wanted.shape)}, output {name!r} is {shape}")
    elif course.options.task == "classification":
        _check_classes(int(truth.max()), output[0].numel(), name)
    elif course.options.task == "segmentation":
        if shape[2:] != list(truth.shape[1:]):
            raise InputError(f"labels are {list(truth.shape[1:])}, output {name!r} is {shape}")
        _check_classes(int(truth[truth != IGNORED].max()), max(2, shape[1]), name)
    elif list(truth.shape[1:]) != shape[1:]:
        raise InputError(f"targets are {[1, *truth.shape[1:]]}, output {name!r} is {shape}")


def check_teacher(ours: Tensor, theirs: Tensor) -> None:
    """Refuse a teacher whose answer is no example for the model's.

    Args:
        ours, theirs: answers of student and teacher to the same sample.

    Raises:
        InputError: another shape, or an answer that is no finite number.
    """
    if ours.shape != theirs.shape:
        raise InputError(
            f"the teacher answers {list(theirs.shape)}, the model {list(ours.shape)}: they must "
            "be the same"
        )
    if not theirs.dtype.is_floating_point or not theirs.isfinite().all():
        raise InputError("the teacher's answers to the data are no finite floating-point numbers")


def _answer(course: Course, model: onnx.ModelProto, feeds: Mapping[str, Tensor]) -> Tensor:
    """The output for one sample, with gradients."""
    try:
        return course.graph.eval()(feeds, (course.output,))[course.output]
    except InputError as error:
        declared = [spec.dims[0] for spec in signature.inputs(model) if spec.dims]
        held = next((d for d in declared if isinstance(d, int) and d > 1), None)
        if held is None:
            raise
        raise InputError(
            f"the graph holds a batch size of {held}: export it with 1 or an open one ({error})"
        ) from error


def _check_classes(highest: int, classes: int, name: str) -> None:
    if highest >= classes:
        raise InputError(f"labels run to {highest}, output {name!r} has {classes} classes")
