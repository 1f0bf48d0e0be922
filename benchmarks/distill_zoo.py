"""`optimize` with a metric, and with samples to train on: what came of it on unseen images.

    python -m benchmarks.distill_zoo [CASE ...] [--trained FOLDER] [--out FOLDER] [--labels]
        [--closed-form] [--arguments "--budget 15m"]

For every model with labels: 512 unlabelled samples, 10,000 training samples to distil on (which
`--labels` tells the classes of, and `--closed-form` leaves out), and top-1 on half of the test
images as the metric. *Unseen* are the other test images: nothing was fitted, trained or chosen on
them. 5,000 images tell a loss to about .3 points.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks import half_of_test
from benchmarks.cases import Case, chosen, drawn
from benchmarks.optimize_zoo import kept_in, optimized, samples_of
from benchmarks.quality import Top1, halves

SAMPLES = 10_000
HEAD = ("model", "latency ratio", "A/A bound", "MACs", "gate's half", "bound", "unseen", "s")


def lessons_of(case: Case, folder: Path, *, labels: bool) -> list[str]:
    """The arguments that name samples to train on, which are written into a folder."""
    assert case.train is not None, "only such are chosen"
    samples, truth = drawn(case.train, SAMPLES)
    path = folder / f"{case.model}.distill.npy"
    np.save(path, samples)
    if not labels:
        return ["--distill", str(path)]
    np.save(path.with_suffix(".labels.npy"), truth)
    return ["--distill", str(path), "--distill-labels", str(path.with_suffix(".labels.npy"))]


def row(case: Case, source: Path, folder: Path, arguments: Sequence[str]) -> str:
    """Optimize one model; the row of the table."""
    assert isinstance(case.quality, Top1), "only such are chosen"
    out = folder / f"{case.model}.onnx"
    metric = f"{half_of_test.__file__}:{case.metric}"
    found = optimized(source, samples_of(case, folder), out, ["--evaluate", metric, *arguments])
    bound = 100 * found.report["metric"]["drop_bound"]
    seen, unseen = (Top1(half).against(source)(out).text for half in halves(case.quality.test))
    return (
        f"| {case.model} | {found.costs} | {seen} | {bound:.2f} | {unseen} | {found.seconds:.0f} |"
    )


@click.command()
@click.argument("names", nargs=-1)
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion`.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep models and reports here.")
@click.option("--labels", is_flag=True, help="The training sees labels.")
@click.option("--closed-form", is_flag=True, help="Nothing is trained.")
@click.option("--arguments", default="", help="Of `optimize`, in one string.")
def main(
    names: tuple[str, ...],
    trained: Path | None,
    out: Path | None,
    labels: bool,
    closed_form: bool,
    arguments: str,
) -> None:
    """Print one row per model as soon as it is measured."""
    print(f"| {' | '.join(HEAD)} |", "|" + " --- |" * len(HEAD), sep="\n", flush=True)
    with kept_in(out) as folder:
        for case in (c for c in chosen(names, trained) if c.metric is not None):
            given = [] if closed_form else lessons_of(case, folder, labels=labels)
            given += shlex.split(arguments)
            print(row(case, case.path(trained), folder, given), flush=True)


if __name__ == "__main__":
    main()
