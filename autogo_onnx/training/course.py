"""What a run of training works on: the network, its data on a device, its teacher, its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.errors import InputError
from autogo_onnx.torch_graph import TorchGraph
from autogo_onnx.training import chance
from autogo_onnx.training.augmentation import augment
from autogo_onnx.training.data import TrainingData
from autogo_onnx.training.distillation import dissimilarity, relative_error
from autogo_onnx.training.options import TrainOptions
from autogo_onnx.training.tasks import Task

_EVALUATED_AT_ONCE = 64


@dataclass(frozen=True)
class Course:
    """The fixed things of a run.

    Attributes:
        graph: the network that learns.
        output: name of the tensor that is judged: the first output, or the scores before its
            Softmax.
        task: loss and metric.
        data: samples to learn from.
        options: the user's.
        teacher: another network, or None.
        teacher_output: as `output`, of the teacher.
        others: names of the other outputs that both networks have, which are to be met too.
        matched: names of inner tensors that the student's are to resemble.
        span: highest minus lowest value of the pictures.
    """

    graph: TorchGraph
    output: str
    task: Task
    data: TrainingData
    options: TrainOptions
    teacher: TorchGraph | None = None
    teacher_output: str = ""
    others: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    span: float = 1.0

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.graph.value(self.graph.learnt.weights[0]).device

    @property
    def metric(self) -> str:
        """Name of what `figure` gives, with whom it takes at their word."""
        is_known = self.data.truth is not None or self.data.clean
        return self.task.metric + ("" if is_known else " by the teacher's answers")

    def loss(self, chosen: np.ndarray, generator: torch.Generator) -> Tensor:
        """The objective on some samples; see `loop.Objective`."""
        feeds, truth = self._batch(chosen, generator)
        values = self.graph(feeds, (self.output, *self.others, *self.matched))
        if self.teacher is None:
            assert truth is not None, "the data were checked"
            return self.task.loss(values[self.output], truth)
        with torch.no_grad():
            theirs = self.teacher(feeds, (self.teacher_output, *self.others, *self.matched))
        total = self.task.imitation(
            values[self.output], theirs[self.teacher_output], self.options.temperature
        )
        total = total + relative_error(values, theirs, self.others)
        total = total + dissimilarity(values, theirs, self.matched)
        if truth is None:
            return total
        share = self.options.label_weight
        return share * self.task.loss(values[self.output], truth) + (1 - share) * total

    def figure(self, data: TrainingData, at_once: int = _EVALUATED_AT_ONCE) -> float:
        """The metric on some samples, in evaluation mode; against the teacher where need be.

        Denoising meets the same noise every time.
        """
        self.graph.eval()
        generator = chance.generator(self.options.seed)
        total: Tensor | None = None
        with torch.no_grad():
            for start in range(0, len(data), at_once):
                chosen = np.arange(start, min(start + at_once, len(data)))
                feeds, truth = self.tensors(data, chosen, generator)
                if truth is None:
                    truth = self._answer(feeds)
                counts = self.task.counts(self.graph(feeds, (self.output,))[self.output], truth)
                total = counts if total is None else total + counts
        assert total is not None, "there are samples"
        return self.task.figure(total.cpu())

    def _answer(self, feeds: Mapping[str, Tensor]) -> Tensor:
        assert self.teacher is not None, "the data were checked"
        theirs = self.teacher(feeds, (self.teacher_output,))
        return self.task.answer(theirs[self.teacher_output])

    def _batch(
        self, chosen: np.ndarray, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Samples to learn from, randomly changed where that was asked for."""
        feeds, truth = _arrays(self.data, chosen)
        if self.options.augment != "none":
            name, pictures = next(iter(feeds.items()))
            feeds[name], truth = augment(pictures, truth, self.options.augment, generator)
        return self._placed(feeds, truth, generator)

    def some(self, count: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """Feeds and truth of the first samples, to try the networks on."""
        return self.tensors(self.data, np.arange(count), chance.generator(0))

    def tensors(
        self, data: TrainingData, chosen: np.ndarray, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Feeds and truth of some samples, on the device."""
        return self._placed(*_arrays(data, chosen), generator)

    def _placed(
        self, feeds: Mapping[str, Tensor], truth: Tensor | None, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """On the device; clean pictures are made noisy, and are then the truth."""
        placed = {name: channels_last(v.to(self.device)) for name, v in feeds.items()}
        if self.data.clean:
            name, clean = next(iter(placed.items()))
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            placed[name], truth = clean + self.options.noise * self.span * noise, clean
        return placed, None if truth is None else truth.to(self.device)


def channels_last(values: Tensor) -> Tensor:
    """Pictures in the memory order in which torch's convolutions are fast, on CPUs up to 1.6x."""
    if values.dim() != 4 or values.shape[1] == 1:
        return values
    return values.contiguous(memory_format=torch.channels_last)


def _arrays(data: TrainingData, chosen: np.ndarray) -> tuple[dict[str, Tensor], Tensor | None]:
    """Inputs and truth of some samples; class indices as torch's losses want them."""
    feeds = {name: torch.from_numpy(array[chosen]) for name, array in data.inputs.items()}
    if data.truth is None:
        return feeds, None
    truth = data.truth[chosen]
    return feeds, torch.from_numpy(truth if truth.dtype.kind == "f" else truth.astype(np.int64))


def scores_before_softmax(graph: TorchGraph, task: str) -> str:
    """The tensor to judge: for classes the scores before a final Softmax, else the first output."""
    name = str(graph.outputs[0])
    if task not in ("classification", "segmentation"):
        return name
    maker = graph.maker(name)
    while maker is not None and maker.kind == "Identity":
        name, maker = maker.inputs[0], graph.maker(maker.inputs[0])
    last = {"Softmax", "LogSoftmax"} | ({"Sigmoid"} if task == "segmentation" else set())
    return str(maker.inputs[0]) if maker is not None and maker.kind in last else name


def shrunk(clean: TrainingData, factor: int) -> TrainingData:
    """Pictures and what they look like `factor` times smaller (bicubic, antialiased).

    Pictures are cut to a multiple of the factor.

    Args:
        clean: float32[N,C,H,W] under the input's name.
        factor: at least 2.

    Raises:
        InputError: a picture is smaller than the factor.
    """
    name, pictures = next(iter(clean.inputs.items()))
    height, width = (size // factor * factor for size in pictures.shape[2:])
    if not height or not width:
        raise InputError(f"pictures of {pictures.shape[2:]} cannot be made {factor} times smaller")
    targets = np.ascontiguousarray(pictures[:, :, :height, :width])
    small = functional.interpolate(
        torch.from_numpy(targets),
        size=(height // factor, width // factor),
        mode="bicubic",
        antialias=True,
    )
    return TrainingData({name: small.numpy()}, targets)
