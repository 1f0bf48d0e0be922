"""How the mean over an output's K numbers varies, by which scores of classes are told from values.

    python -m benchmarks.vectors [CASE ...] [--trained FOLDER]
    python -m benchmarks.vectors --model MODEL --samples SAMPLES

For every output float[N,K]: K, the variance of that mean over what it is where all numbers are
independent (`vectors.common_share`), how sure a Softmax would be, and what it is taken for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import onnx

from autogo_onnx import calibration, signature, verify
from autogo_onnx.class_drop import is_class_scores, log_posterior
from autogo_onnx.options import Options
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import Samples, evenly
from autogo_onnx.vectors import TRIED, common_share, is_of_classes
from benchmarks.cases import chosen


def rows(name: str, model: onnx.ModelProto, samples: Samples) -> Iterator[str]:
    """The rows of the table for a model."""
    some = samples.take(evenly(len(samples), TRIED))
    for output, values in verify.run(open_session(model), some).items():
        if is_class_scores(values):
            sure = float(np.exp(log_posterior(values)).max(axis=1).mean())
            kind = "classes" if is_of_classes(values) else "values"
            share = common_share(values.astype(np.float64))
            yield f"| {name} | {output} | {values.shape[1]} | {share:.3f} | {sure:.2f} | {kind} |"


@click.command()
@click.argument("names", nargs=-1)
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion`.")
@click.option("--model", type=click.Path(path_type=Path, exists=True))
@click.option("--samples", type=click.Path(path_type=Path, exists=True))
def main(
    names: tuple[str, ...], trained: Path | None, model: Path | None, samples: Path | None
) -> None:
    """Print the table."""
    click.echo("| model | output | K | variance of the mean | sure | taken for |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    if model is not None and samples is not None:
        proto = onnx.load(model)
        for line in rows(model.stem, proto, calibration.load(samples, proto, Options())):
            click.echo(line)
        return
    for case in chosen(names, trained):
        proto = onnx.load(case.path(trained))
        (only,) = signature.inputs(proto)
        for line in rows(case.model, proto, Samples({only.name: case.calibration(0)})):
            click.echo(line)


if __name__ == "__main__":
    main()
