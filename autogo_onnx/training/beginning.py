"""The beginning of a run: model, data and options become a course, or are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import onnx
import torch
from torch import Tensor

from autogo_onnx import signature
from autogo_onnx.errors import InputError
from autogo_onnx.samples import evenly
from autogo_onnx.torch_graph import TorchGraph
from autogo_onnx.training import chance, tasks
from autogo_onnx.training.checks import check_augmentation, check_output, check_teacher
from autogo_onnx.training.course import Course, scores_before_softmax, shrunk
from autogo_onnx.training.data import TrainingData
from autogo_onnx.training.distillation import matched, shared_outputs
from autogo_onnx.training.options import TrainOptions

SETTLED_ON = 256
"""So many samples give inserted normalizations their first statistics."""
_SMALL_PICTURE = 24


@dataclass(frozen=True)
class Beginning:
    """What a run works on.

    Attributes:
        course: the network, and what it learns from.
        held_out: the data it is judged by.
        piece: how many samples run at once.
        notes: for the user.
    """

    course: Course
    held_out: TrainingData
    piece: int
    notes: tuple[str, ...]

    def some(self) -> Iterator[dict[str, Tensor]]:
        """Feeds of a few hundred samples from all over the data."""
        data, generator = self.course.data, chance.generator(0)
        chosen = evenly(len(data), SETTLED_ON)
        for start in range(0, len(chosen), self.piece):
            yield self.course.tensors(data, chosen[start : start + self.piece], generator)[0]


def begin(
    model: onnx.ModelProto,
    teacher: onnx.ModelProto | None,
    data: TrainingData,
    options: TrainOptions,
) -> Beginning:
    """Put together what a run works on.

    Args:
        model: to train.
        teacher: to learn from, or None.
        data: checked.
        options: the user's.

    Raises:
        InputError: model, teacher and data do not fit each other.
    """
    graph = TorchGraph(model).to(_device(options))
    if not graph.learnt.weights:
        raise InputError("the model has no weights that could be trained")
    graph.freezes_statistics = options.normalization == "freeze"
    if data.clean and options.task == "super-resolution":
        data = shrunk(data, _factor(graph, model))
    check_augmentation(data, options)
    learning, held_out = data.split(options.held_out, options.seed)
    task, span = _task(options, data)
    output = scores_before_softmax(graph, options.task)
    course = Course(graph, output, task, learning, options, span=span)
    check_output(course, model, data.truth)
    if teacher is not None:
        course = _taught(course, teacher)
    piece, notes = _piece(course)
    return Beginning(course, held_out, piece, (*notes, *_told(course)))


def _taught(course: Course, model: onnx.ModelProto) -> Course:
    """The course with a teacher.

    Raises:
        InputError: it takes other inputs, or answers in another shape.
    """
    graph = course.graph.eval()
    feeds, _ = course.some(1)
    try:
        teacher = TorchGraph(model)
        if set(teacher.inputs) - set(graph.inputs):
            raise InputError(
                f"its inputs are {list(teacher.inputs)}, the model's are {list(graph.inputs)}"
            )
        teacher.to(course.device).eval().requires_grad_(False)
        name = scores_before_softmax(teacher, course.options.task)
        theirs = _values(teacher, feeds, name)
    except InputError as error:
        raise InputError(f"the teacher cannot be used: {error}") from error
    check_teacher(_values(graph, feeds, course.output), theirs)
    return replace(
        course,
        teacher=teacher,
        teacher_output=name,
        others=tuple(shared_outputs(graph, teacher, feeds)),
        matched=tuple(matched(graph, teacher, feeds)),
    )


def _told(course: Course) -> list[str]:
    """What is compared besides the first output, and what is not."""
    notes, first, *rest = [], *course.graph.outputs
    if course.teacher is not None:
        notes.append(f"{len(course.matched)} tensors inside are compared with the teacher's")
    left = [name for name in rest if name not in course.others]
    if left:
        notes.append(
            f"only output {first!r} is trained: {', '.join(map(repr, left))} may change as well"
        )
    return notes


def _task(options: TrainOptions, data: TrainingData) -> tuple[tasks.Task, float]:
    """The task, and the range of its pictures."""
    if options.task == "classification":
        return tasks.CLASSIFICATION, 1.0
    if options.task == "segmentation":
        return tasks.SEGMENTATION, 1.0
    pictures = next(iter(data.inputs.values())) if data.truth is None else data.truth
    low, high = tasks.picture_range(pictures)
    if high <= low:
        raise InputError(f"the pictures of {options.data} are all of one value")
    return tasks.dense(options.task, low, high), high - low


def _piece(course: Course) -> tuple[int, list[str]]:
    """How many samples may run at once: a batch, or one where a graph holds a batch size."""
    pair, _ = course.some(2)
    holders = [] if joins(course.graph.eval(), pair, course.output) else ["graph"]
    if course.teacher is not None and not joins(course.teacher, pair, course.teacher_output):
        holders.append("teacher")
    if not holders:
        return course.options.batch, []
    course.graph.freezes_statistics = True
    who = f"the {holders[0]} holds a batch size of 1"
    return 1, [f"samples run one by one, with stored statistics: {who}"]


def joins(graph: TorchGraph, pair: Mapping[str, Tensor], output: str) -> bool:
    """Whether two samples together give what each gives alone."""
    alone = [_values(graph, {n: v[i : i + 1] for n, v in pair.items()}, output) for i in (0, 1)]
    joined = torch.cat(alone)
    try:
        together = _values(graph, pair, output)
    except InputError:
        return False
    if together.shape != joined.shape:
        return False
    finite = joined.nan_to_num()
    return float((together.nan_to_num() - finite).abs().max()) <= 1e-3 * float(finite.abs().max())


def _values(graph: TorchGraph, feeds: Mapping[str, Tensor], output: str) -> Tensor:
    with torch.no_grad():
        return graph(feeds, (output,))[output]


def _factor(graph: TorchGraph, model: onnx.ModelProto) -> int:
    """By how much a network enlarges pictures.

    Raises:
        InputError: it does not, or by another factor than a whole one.
    """
    spec = signature.inputs(model)[0]
    sizes = [d if isinstance(d, int) else 0 for d in spec.dims or ()]
    if len(sizes) != 4:
        raise InputError(f"input {spec.name!r} is no batch of pictures")
    shape = [1, sizes[1] or 3, sizes[2] or _SMALL_PICTURE, sizes[3] or _SMALL_PICTURE]
    parameter = next(graph.parameters())
    with torch.no_grad():
        feeds = {spec.name: parameter.new_zeros(shape)}
        output = graph.eval()(feeds)[graph.outputs[0]]
    factor = output.shape[-1] // shape[-1] if output.dim() == 4 else 0
    if factor < 2 or list(output.shape[2:]) != [s * factor for s in shape[2:]]:
        raise InputError(
            f"a picture {shape[2:]} becomes {list(output.shape)}: no super-resolution by a whole "
            "factor; give --targets"
        )
    return int(factor)


def _device(options: TrainOptions) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if options.device == "cuda" and not has_gpu:
        raise InputError("there is no GPU that torch can use: leave --device out")
    return torch.device("cuda" if has_gpu and options.device != "cpu" else "cpu")
