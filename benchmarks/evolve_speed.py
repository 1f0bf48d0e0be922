"""Time, children and memory of `evolve` on the networks that the paper evolves.

    python -m benchmarks.evolve_speed [CODE ...] --iterations 5 --jobs 2 [--check 5]

The reference needs 1.5 to 2 minutes per parent (its own log; python, two cores, no predictor time).
Here a parent's time is that of an iteration by the number of parents' turns in it, all included:
segmentation, adaptation, shapes, canonical forms, prediction, the front. With `--check` so many
children of every turn are written as ONNX models and ONNX infers their shapes anew, in strict mode,
where they are made; times are then not those of the search.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx

from autogo_onnx.evolution import (
    Child,
    Evolution,
    Judges,
    PredictedAccuracy,
    Run,
    Settings,
    Unit,
    Value,
    evolve,
)
from autogo_onnx.materialize import to_onnx
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.predictor import Predicted
from autogo_onnx.segment_db.families.naming import network
from autogo_onnx.segment_db.workers import local
from autogo_onnx.weights import weight_shapes

CODES = ("published:resnet50", "published:edsr_x2", "published:vgg16", "published:unet_denoising")
REFERENCE_S = 90.0


def is_valid(graph: OpGraph) -> bool:
    """Whether ONNX infers just the shapes that a graph claims, from its inputs and weights alone.

    Raises:
        Exception: of ONNX, where it finds the model wrong.
    """
    weights = {
        index: tuple(np.zeros(shape, np.float32) for shape in shapes)
        for index, shapes in weight_shapes(graph).items()
    }
    model = to_onnx(graph, weights)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    ).graph
    shapes = {
        info.name: tuple(dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim)
        for info in (*inferred.value_info, *inferred.output)
    }
    names = [name for node in inferred.node for name in node.output]
    made = Counter(shapes[name] for name in names if name in shapes)
    return not Counter(graph.op_shapes) - made


@dataclass(frozen=True)
class Checking:
    """A judge that first has a look at whether some of the children are valid; see `Value`."""

    value: Value
    count: int

    def changes(self, children: Sequence[Child]) -> Predicted:
        """See `Value`."""
        for number in np.linspace(0, len(children) - 1, self.count).round().astype(int):
            child = children[number]
            assert is_valid(child.graph), f"{child.edit.source} at {child.edit.ops}"
        return self.value.changes(children)


def _processes() -> list[Path]:
    """This process and those that it started."""
    mine = Path("/proc/self").resolve()
    started = (mine / "task" / mine.name / "children").read_text().split()
    return [mine, *(mine.parent / process for process in started)]


def megabytes() -> float:
    """Resident memory of this process and those that it started."""
    pages = sum(int((one / "statm").read_text().split()[1]) for one in _processes())
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds() -> float:
    """Time that this process and those that it started have computed."""
    times = [(one / "stat").read_text().rpartition(")")[2].split()[11:13] for one in _processes()]
    return sum(int(ticks) for both in times for ticks in both) / os.sysconf("SC_CLK_TCK")


@click.command()
@click.argument("codes", nargs=-1)
@click.option("--iterations", default=5, show_default=True)
@click.option("--parents", default=10, show_default=True)
@click.option("--children", default=200, show_default=True, help="Per parent.")
@click.option("--unit", type=click.Choice([u.value for u in Unit]), default=Unit.SEGMENT.value)
@click.option("--jobs", default=2, show_default=True)
@click.option("--check", default=0, show_default=True, help="Children per turn that ONNX checks.")
def main(
    codes: Sequence[str],
    iterations: int,
    parents: int,
    children: int,
    unit: str,
    jobs: int,
    check: int,
) -> None:
    """Evolve some networks, a line per iteration."""
    settings = Settings(iterations, parents, children, Unit(unit))
    print(
        "| network | iteration | children | tried | seconds | per parent | times less | CPU | MB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for code in codes or CODES:
        _evolved(code, settings, jobs, check)


def _evolved(code: str, settings: Settings, jobs: int, check: int) -> None:
    base = network(code).folded()
    value: Value = PredictedAccuracy(base)
    judges = Judges(Checking(value, check) if check else value)
    begun = [cpu_seconds()]

    def watch(found: Evolution) -> None:
        last = found.counts[-1]
        each = last.seconds / settings.parents
        now = cpu_seconds()
        spent, begun[0] = now - begun[0], now
        print(
            f"| {code} | {last.iteration} | {last.children} | {last.tried} | {last.seconds:.1f}"
            f" | {each:.2f} | {REFERENCE_S / each:.0f} | {spent:.1f} | {megabytes():.0f} |",
            flush=True,
        )

    with local(jobs) as workers:
        found = evolve(base, judges, settings, run=Run(workers=workers, watch=watch))
    checked = check * settings.parents * len(found.counts)
    print(f"{code}: {found.history} networks, {len(found.front)} on the front, {checked} checked")


if __name__ == "__main__":
    main()
