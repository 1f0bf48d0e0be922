"""A plan's model as a torch network that imitates the teacher, and back as ONNX."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from torch import Tensor

from autogo_onnx.distillation.imitation import LABEL_SHARE, distance, goals, label_loss
from autogo_onnx.distillation.teacher import Teacher
from autogo_onnx.errors import InputError
from autogo_onnx.messages import opset_of
from autogo_onnx.rewriters import fuse_conv_bn, rewrite
from autogo_onnx.samples import evenly
from autogo_onnx.torch_graph import TorchGraph, with_weights
from autogo_onnx.training.beginning import SETTLED_ON, joins
from autogo_onnx.training.course import channels_last
from autogo_onnx.training.preparation import OLDEST_OPSET, settle, with_normalization

_AT_ONCE = 64


class Student:
    """A network that learns to give the teacher's answers.

    Classifiers get a normalization behind every convolution while they learn, which starts as what
    changes nothing and is folded away in the end: measured on Fashion-MNIST, a divergence of .025
    instead of .031 after the same steps. Where outputs are values (pictures, boxes), noise of the
    batch would enter them.

    Attributes:
        graph: the network.
        piece: how many samples may run at once; 1 where the model holds a batch size.
    """

    def __init__(self, model: onnx.ModelProto, teacher: Teacher) -> None:
        """Make the network.

        Args:
            model: of the plan; it is not changed.
            teacher: of the samples to learn from.

        Raises:
            InputError: an operator is not known to train, or no output can be imitated.
        """
        self._model, self._prepared = model, model
        self._teacher, self._samples = teacher, teacher.sights.samples
        self._set_up(model)
        if not self.graph.learnt.weights or not self._goals:
            raise InputError("the model has no weights or no outputs that could be trained")
        pair = self._feeds(np.arange(2))
        is_joined = joins(self.graph.eval(), pair, self._goals[0].tensor)
        self.piece = _AT_ONCE if is_joined and not self._samples.batch else 1
        if self.piece > 1 and self._goals[0].is_classes and opset_of(model) >= OLDEST_OPSET:
            self._prepared = with_normalization(model)
            self._set_up(self._prepared)
            settle(self.graph, self._some())
        else:
            self.graph.freezes_statistics = True

    def loss(self, chosen: np.ndarray, generator: torch.Generator) -> Tensor:
        """The objective on samples at some positions; see `training.loop.Objective`."""
        sights = self._teacher.sights.drawn(chosen, generator)
        answers = [torch.from_numpy(a) for a in self._teacher.answers(sights)]
        values = self.graph(self._feeds(sights), [goal.tensor for goal in self._goals])
        total = distance(values, answers, self._goals)
        if self._samples.labels is None or not self._goals[0].is_classes:
            return total
        labels = torch.from_numpy(self._samples.labels[chosen])
        told = label_loss(values, labels, self._goals[0])
        return LABEL_SHARE * told + (1 - LABEL_SHARE) * total

    def try_out(self, count: int) -> None:
        """Gradients for the first samples, as a step takes them; nothing is learnt."""
        statistics = {n: self.graph.value(n).clone() for n in self.graph.learnt.statistics}
        self.graph.train()
        for start in range(0, count, self.piece):
            chosen = np.arange(start, min(start + self.piece, count))
            self.loss(chosen, torch.Generator()).backward()
        self.graph.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, value in statistics.items():
                self.graph.value(name).copy_(value)

    def model(self) -> onnx.ModelProto:
        """The plan's model with the weights of now."""
        result = with_weights(self._prepared, self.graph.arrays())
        if self._prepared is self._model:
            return result
        return rewrite(result, rules=(fuse_conv_bn.RULE,)).model

    def _set_up(self, model: onnx.ModelProto) -> None:
        self.graph = TorchGraph(model)
        teacher = self._teacher
        self._goals = goals(self.graph, teacher.names, teacher.some, teacher.quantities)

    def _feeds(self, sights: np.ndarray) -> Mapping[str, Tensor]:
        feeds = self._teacher.sights.take(sights).feeds
        return {name: channels_last(torch.from_numpy(a)) for name, a in feeds.items()}

    def _some(self) -> list[Mapping[str, Tensor]]:
        chosen = evenly(len(self._samples), SETTLED_ON)
        return [self._feeds(chosen[i : i + self.piece]) for i in range(0, len(chosen), self.piece)]
