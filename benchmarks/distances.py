"""What to tell students of the original's class scores: one plan, trained by several distances.

    python -m benchmarks.distances PLAN.onnx ORIGINAL.onnx {cifar10|fashion_mnist} [--seeds 2]

`PLAN` is a model of a Pareto set of `ORIGINAL` (`optimize --max-drop 0.03 --pareto FOLDER`). Needs
torch. Nothing learns from the test images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from autogo_onnx.deadline import Deadline
from autogo_onnx.distillation import Lessons, imitation
from autogo_onnx.distillation.learning import School, learn
from autogo_onnx.distillation.teacher import Teacher
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.progress import Silent
from autogo_onnx.samples import Samples
from benchmarks import inputs
from benchmarks.cases import drawn
from benchmarks.fit_quality import judged, scores

SAMPLES = 9_488
MEMORY = 2**30


def divergence(log_q: Tensor, log_p: Tensor, temperature: float) -> Tensor:
    """Of probabilities at a temperature."""
    p, q = (torch.log_softmax(scores / temperature, 1) for scores in (log_p, log_q))
    return functional.kl_div(q, p, reduction="batchmean", log_target=True) * temperature**2


def squared(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Errors of the scores, but for what all classes share."""
    missed = log_q - log_p
    return (missed - missed.mean(1, keepdim=True)).square().mean() / 2


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{f"divergence at {t}": partial(divergence, temperature=float(t)) for t in (2, 4, 8)},
    "squared errors": squared,
    "as it is": imitation.class_distance,
}


def trained(
    plan: onnx.ModelProto, original: onnx.ModelProto, samples: np.ndarray, seed: int
) -> onnx.ModelProto:
    """The plan's model after the usual number of steps."""
    learnt = Samples({original.graph.input[0].name: samples})
    teacher = Teacher(original, learnt, memory_bytes=MEMORY, threads=1)
    school = School(Lessons(learnt, learnt), teacher, None, seed, LatencyTable("", 1), Silent())
    return learn(plan, school, Deadline(1e6))


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.argument("original", type=click.Path(path_type=Path))
@click.argument("data", type=click.Choice(["cifar10", "fashion_mnist"]))
@click.option("--seeds", default=2, show_default=True)
def main(plan: Path, original: Path, data: str, seeds: int) -> None:
    """Print one row per distance and seed."""
    train, test = {
        "cifar10": (partial(inputs.cifar10, "train"), partial(inputs.cifar10, "test")),
        "fashion_mnist": (
            partial(inputs.fashion_mnist, "train"),
            partial(inputs.fashion_mnist, "t10k"),
        ),
    }[data]
    before, samples, told = onnx.load(original), drawn(train, SAMPLES)[0], test()
    reference = scores(before, told[0])
    print("| distance | seed | divergence | top-1 | agreement |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for name, distance in DISTANCES.items():
        for seed in range(seeds):
            with patch.object(imitation, "class_distance", distance):
                model = trained(onnx.load(plan), before, samples, seed)
            off, change, agreement = judged(model, told, reference)
            print(
                f"| {name} | {seed} | {off:.4f} | {change:+.2f} | {agreement:.1f} % |", flush=True
            )


if __name__ == "__main__":
    main()
