"""The steps of training: batches, AdamW, a learning rate that rises and falls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from autogo_onnx.errors import InputError
from autogo_onnx.progress import Progress
from autogo_onnx.torch_graph import TorchGraph
from autogo_onnx.training import chance

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
    """

    epochs: int
    batch: int
    piece: int
    learning_rate: float
    weight_decay: float
    seed: int


class Trainer:
    """A network on its way, epoch by epoch; its state goes into arrays and back."""

    def __init__(self, graph: TorchGraph, samples: int, pace: Pace) -> None:
        self._graph, self._samples, self._pace = graph, samples, pace
        self._names = graph.learnt.weights
        weights = [graph.value(name) for name in self._names]
        kernels = [w for w in weights if w.dim() > 1]
        others = [w for w in weights if w.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": kernels, "weight_decay": pace.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=pace.learning_rate,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; a rest would be a batch with noisy statistics."""
        return max(1, self._samples // self._pace.batch)

    def epoch(self, number: int, objective: Objective, progress: Progress) -> float:
        """One round over the samples, the `number`-th from 0; its mean loss.

        Raises:
            InputError: the loss or a weight is no number any more.
        """
        pace = self._pace
        order = np.random.default_rng([pace.seed, number]).permutation(self._samples)
        generator = chance.generator(pace.seed, number)
        torch.manual_seed(chance.number(pace.seed, number))  # of Dropout
        self._graph.train()
        total = 0.0
        for step in range(self.steps_per_epoch):
            chosen = order[step * pace.batch : (step + 1) * pace.batch]
            self._set_rate(number * self.steps_per_epoch + step)
            total += self._step(chosen, objective, generator)
            if not math.isfinite(total):
                raise self._diverged(f"the loss became {total}", number, step)
            progress.advance()
        self._graph.eval()
        if not all(np.isfinite(array).all() for array in self._graph.arrays().values()):
            raise self._diverged("weights became infinite", number, self.steps_per_epoch - 1)
        return total / self.steps_per_epoch

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

    def _set_rate(self, step: int) -> None:
        """Rises in a straight line over the first twentieth, then falls as a cosine to zero."""
        steps = self._pace.epochs * self.steps_per_epoch
        warm = max(1, round(_WARM_UP * steps))
        if step < warm:
            share = (step + 1) / warm
        else:
            share = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
        for group in self._optimizer.param_groups:
            group["lr"] = self._pace.learning_rate * share


def _backward(loss: torch.Tensor, samples: int) -> None:
    """Gradients, or one line where they do not fit; torch has no exception of its own for that."""
    try:
        loss.backward()
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise InputError(f"{samples} samples do not fit into memory: lower --batch") from error
