"""What to tell students of the original's class scores: one plan, trained by several distances.

    python -m benchmarks.distances CASE PLAN.onnx [--trained FOLDER] [--seeds 2]

`PLAN` is a model of a Pareto set of the case's (`optimize --max-drop 0.03 --pareto FOLDER`). Needs
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
from torch import Tensor

from autogo_onnx.deadline import Deadline
from autogo_onnx.distillation import Lessons, imitation
from autogo_onnx.distillation.learning import School, learn
from autogo_onnx.distillation.teacher import Teacher
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.progress import Silent
from autogo_onnx.samples import Samples
from benchmarks.cases import chosen, drawn
from benchmarks.fit_quality import judged, scores
from benchmarks.quality import Top1

SAMPLES = 9_488
MEMORY = 2**30


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{
        f"divergence at {t}": partial(imitation.divergence, temperature=float(t)) for t in (2, 4, 8)
    },
    "squared errors": imitation.squared_errors,
    "as it is": imitation.class_distance,
}


def learnt(
    plan: onnx.ModelProto, original: onnx.ModelProto, samples: np.ndarray, seed: int
) -> onnx.ModelProto:
    """The plan's model after the usual number of steps."""
    seen = Samples({original.graph.input[0].name: samples})
    teacher = Teacher(original, seen, memory_bytes=MEMORY, threads=1)
    school = School(Lessons(seen, seen), teacher, None, seed, LatencyTable("", 1), Silent())
    return learn(plan, school, Deadline(1e6))


@click.command()
@click.argument("name")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion`.")
@click.option("--seeds", default=2, show_default=True)
def main(name: str, plan: Path, trained: Path | None, seeds: int) -> None:
    """Print one row per distance and seed."""
    (case,) = chosen([name], trained)
    if case.train is None or not isinstance(case.quality, Top1):
        raise click.UsageError(f"{name} has no labels")
    before, told = onnx.load(case.path(trained)), case.quality.test()
    samples, _ = drawn(case.train, SAMPLES)
    reference = scores(before, told[0])
    print("| distance | seed | divergence | top-1 | agreement |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for told_by, distance in DISTANCES.items():
        for seed in range(seeds):
            with patch.object(imitation, "class_distance", distance):
                model = learnt(onnx.load(plan), before, samples, seed)
            off, change, agreement = judged(model, told, reference)
            print(
                f"| {told_by} | {seed} | {off:.4f} | {change:+.2f} | {agreement:.1f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
