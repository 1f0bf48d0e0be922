"""What students should come close to, and on which pictures: one plan, trained in several ways.

    python -m benchmarks.distances CASE PLAN.onnx [--trained FOLDER] [--seeds 2] [--rounds 1]

`PLAN` is a model of a Pareto set of the case's (`optimize --max-drop 0.03 --pareto FOLDER`). Needs
torch. Nothing learns from the test images. Distances are compared on samples as they are; as it
is, pictures are also moved and mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, islice, product
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import onnx
from torch import Tensor

from autogo_onnx.deadline import Deadline
from autogo_onnx.distillation import Lessons, imitation
from autogo_onnx.distillation.learning import School, learn
from autogo_onnx.distillation.sights import Sights, sights
from autogo_onnx.distillation.teacher import Teacher
from autogo_onnx.latency_table import LatencyTable
from autogo_onnx.progress import Silent
from autogo_onnx.samples import Samples
from benchmarks.cases import chosen, drawn
from benchmarks.fit_quality import judged, scores
from benchmarks.quality import Top1

SAMPLES = 9_488
MEMORY = 2**30


@dataclass(frozen=True)
class Way:
    """How to train.

    Attributes:
        name: in the table.
        distance: of class scores.
        has_views: whether pictures are also moved and mirrored.
    """

    name: str
    distance: Callable[[Tensor, Tensor], Tensor]
    has_views: bool = False


WAYS = (
    *(
        Way(f"divergence at {t}", partial(imitation.divergence, temperature=float(t)))
        for t in (2, 4, 8)
    ),
    Way("squared errors", imitation.squared_errors),
    Way("their sum", imitation.class_distance),
    Way("as it is", imitation.class_distance, has_views=True),
)


def learnt(
    plan: onnx.ModelProto, original: onnx.ModelProto, samples: np.ndarray, way: Way, seed: int
) -> Iterator[onnx.ModelProto]:
    """The plan's model after one round of the usual number of steps, after two, and so on."""
    seen = Samples({original.graph.input[0].name: samples})
    shown = sights(original, seen, threads=1) if way.has_views else Sights(seen)
    teacher = Teacher(original, shown, memory_bytes=MEMORY, threads=1)
    for rounds in count():
        table = LatencyTable("", 1)
        school = School(Lessons(seen, seen), teacher, None, seed, table, Silent(), rounds)
        with patch.object(imitation, "class_distance", way.distance):
            plan = learn(plan, school, Deadline(1e6))
        yield plan


@click.command()
@click.argument("name")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion`.")
@click.option("--seeds", default=2, show_default=True)
@click.option("--rounds", default=1, show_default=True, help="Of 1,500 steps.")
def main(name: str, plan: Path, trained: Path | None, seeds: int, rounds: int) -> None:
    """Print one row per way, seed and round."""
    (case,) = chosen([name], trained)
    if case.train is None or not isinstance(case.quality, Top1):
        raise click.UsageError(f"{name} has no labels")
    before, told = onnx.load(case.path(trained)), case.quality.test()
    samples, _ = drawn(case.train, SAMPLES)
    reference = scores(before, told[0])
    print("| way | seed | round | divergence | top-1 | agreement |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for way, seed in product(WAYS, range(seeds)):
        models = islice(learnt(onnx.load(plan), before, samples, way, seed), rounds)
        for number, model in enumerate(models, 1):
            off, change, agreement = judged(model, told, reference)
            figures = f"{off:.4f} | {change:+.2f} | {agreement:.1f} %"
            print(f"| {way.name} | {seed} | {number} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
