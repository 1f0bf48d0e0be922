"""The steps of training: batches, AdamW, a learning rate that rises and falls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autogo_onnx.errors import InputError
from autogo_onnx.progress import Progress
from autogo_onnx.torch_graph import TorchGraph
from autogo_onnx.training import chance
from autogo_onnx.training.step_sizes import relative_sizes

Objective = Callable[[np.ndarray, torch.Generator], torch.Tensor]
"""(positions of samples, the random choices of this epoch) -> their mean loss."""

_WARM_UP = 0.05
_LARGEST_GRADIENT = 5.0


@dataclass(frozen=True)
class Pace:
    """How fast to go.

    Attributes:
        epochs: rounds over all samples.
        batch: samples per step.
        piece: samples that run at once; the gradients of several pieces are added up to a batch.
        learning_rate, weight_decay: of AdamW.
        seed: of the order of samples and of all that is drawn.
        is_relative: whether the learning rate is a share of each weight's own size.
    """

    epochs: int
    batch: int
    piece: int
    learning_rate: float
    weight_decay: float
    seed: int
    is_relative: bool = False


class Trainer:
    """A network on its way, epoch by epoch; its state goes into arrays and back."""

    def __init__(self, graph: TorchGraph, samples: int, pace: Pace) -> None:
        self._graph, self._samples, self._pace = graph, samples, pace
        self._names = graph.learnt.weights
        self._optimizer = torch.optim.AdamW(_groups(graph, pace), lr=pace.learning_rate)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; a rest would be a batch with noisy statistics."""
        return max(1, self._samples // self._pace.batch)

    def epoch(self, number: int, objective: Objective, progress: Progress) -> float:
        """One round over the samples, the `number`-th from 0; its mean loss.

        Raises:
            InputError: the loss or a weight is no number any more.
        """
        total = 0.0
        for place, (chosen, generator) in enumerate(self.batches(number)):
            done = number * self.steps_per_epoch + place
            total += self.step(chosen, done, objective, generator)
            if not math.isfinite(total):
                raise self._diverged(f"the loss became {total}", number, place)
            progress.advance()
        self._graph.eval()
        if not self.is_finite():
            raise self._diverged("weights became infinite", number, self.steps_per_epoch - 1)
        return total / self.steps_per_epoch

    def batches(self, number: int) -> Iterator[tuple[np.ndarray, torch.Generator]]:
        """The `number`-th round in steps: positions of samples, and the random choices of it."""
        pace = self._pace
        order = np.random.default_rng([pace.seed, number]).permutation(self._samples)
        generator = chance.generator(pace.seed, number)
        torch.manual_seed(chance.number(pace.seed, number))  # of Dropout
        self._graph.train()
        for step in range(self.steps_per_epoch):
            yield order[step * pace.batch : (step + 1) * pace.batch], generator

    def step(
        self, chosen: np.ndarray, done: float, objective: Objective, generator: torch.Generator
    ) -> float:
        """One step; its loss.

        Args:
            chosen: positions of samples.
            done: how many of all steps are over, which the learning rate depends on; where time is
                short it may run ahead.
            objective, generator: as for an epoch.
        """
        rate = _rate(done, self._pace.epochs * self.steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = group["highest"] * rate
        return self._step(chosen, objective, generator)

    def is_finite(self) -> bool:
        """Whether all that was learnt is numbers."""
        return all(np.isfinite(array).all() for array in self._graph.arrays().values())

    def state(self) -> dict[str, np.ndarray]:
        """All that the next epoch depends on."""
        arrays = {f"value/{name}": array for name, array in self._graph.arrays().items()}
        for name in self._names:
            for part, value in self._optimizer.state[self._graph.value(name)].items():
                arrays[f"{part}/{name}"] = value.detach().cpu().numpy()
        return {name: np.array(array) for name, array in arrays.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self._graph.load(
            {k.removeprefix("value/"): v for k, v in state.items() if k.startswith("value/")}
        )
        for name in self._names:
            weight = self._graph.value(name)
            for part in ("step", "exp_avg", "exp_avg_sq"):
                if f"{part}/{name}" in state:
                    value = torch.from_numpy(np.array(state[f"{part}/{name}"]))
                    # AdamW counts its steps on the CPU.
                    where = value if part == "step" else value.to(weight.device)
                    self._optimizer.state[weight][part] = where

    def _diverged(self, what: str, number: int, step: int) -> InputError:
        return InputError(
            f"{what} in epoch {number + 1}, step {step + 1}: lower --learning-rate (it is "
            f"{self._pace.learning_rate:g})"
        )

    def _step(self, chosen: np.ndarray, objective: Objective, generator: torch.Generator) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for start in range(0, len(chosen), self._pace.piece):
            piece = chosen[start : start + self._pace.piece]
            loss = objective(piece, generator) * (len(piece) / len(chosen))
            _backward(loss, len(piece))
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self._graph.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        return total


def _groups(graph: TorchGraph, pace: Pace) -> list[dict[str, Any]]:
    """Weights that share a learning rate and a decay, which biases, scales and shifts have not."""
    names = graph.learnt.weights
    sizes = relative_sizes(graph) if pace.is_relative else dict.fromkeys(names, 1.0)
    alike: dict[tuple[float, bool], list[torch.Tensor]] = {}
    for name in names:
        weight = graph.value(name)
        alike.setdefault((sizes[name], weight.dim() > 1), []).append(weight)
    return [
        {
            "params": weights,
            "weight_decay": pace.weight_decay if is_kernel else 0.0,
            "highest": pace.learning_rate * size,
        }
        for (size, is_kernel), weights in alike.items()
    ]


def _rate(done: float, steps: int) -> float:
    """Rises in a straight line over the first twentieth, then falls as a cosine to zero.

    >>> _rate(0, 100), _rate(4, 100), _rate(5, 100), round(_rate(99.5, 100), 3)
    (0.2, 1.0, 1.0, 0.0)
    """
    warm = max(1, round(_WARM_UP * steps))
    if done < warm:
        return (done + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, steps - warm)))


def _backward(loss: torch.Tensor, samples: int) -> None:
    """Gradients, or one line where they do not fit; torch has no exception of its own for that."""
    try:
        loss.backward()
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise InputError(f"{samples} samples do not fit into memory: lower --batch") from error
