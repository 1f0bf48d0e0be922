"""What classifiers claim, what they keep when pictures are mirrored, and what is true.

    python -m benchmarks.overconfidence [CASE ...] [--trained FOLDER]

For every model with labels, on its training and on its test images, 10,000 of each: the mean
probability of the likeliest class, the share of images that stay in their class when they are
mirrored, the share of right answers, the temperature that explains the labels best, and what
`autogo_onnx.overconfidence` concludes of 512 of them (it takes colour pictures only).
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from autogo_onnx.class_drop import log_posterior, softened
from autogo_onnx.overconfidence import overconfidence
from benchmarks.cases import SAMPLES, chosen, drawn
from benchmarks.quality import Labelled, Top1, scores_of

COUNT = 10_000
TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(8.0), 101))
HEAD = ("model", "images", "claims", "keeps", "is right", "fits", "concluded")


def row(name: str, source: Path, images: str, labelled: Labelled) -> str:
    """Of one model on some images."""
    pictures, labels = drawn(labelled, COUNT)
    scores, reflected = (scores_of(source, x) for x in (pictures, pictures[..., ::-1]))
    log_p, top = log_posterior(scores), scores.argmax(axis=1)
    rows = np.arange(len(top))
    fits = max(TEMPERATURES, key=lambda t: float(softened(log_p, t)[rows, labels].sum()))
    found = None
    if pictures.shape[1] == 3:
        found = overconfidence(scores[:SAMPLES], reflected[:SAMPLES])
    cells = [
        f"{np.exp(log_p).max(axis=1).mean():.2f}",
        f"{(top == reflected.argmax(axis=1)).mean():.2f}",
        f"{(top == labels).mean():.2f}",
        f"{fits:.2f}",
        "-" if found is None else f"{found.temperature:.1f}",
    ]
    return f"| {' | '.join([name, images, *cells])} |"


@click.command()
@click.argument("names", nargs=-1)
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion` and others.")
def main(names: tuple[str, ...], trained: Path | None) -> None:
    """Print the table."""
    print(f"| {' | '.join(HEAD)} |", "|" + " --- |" * len(HEAD), sep="\n")
    for case in chosen(names, trained):
        if isinstance(case.quality, Top1) and case.train is not None:
            for images, labelled in (("training", case.train), ("test", case.quality.test)):
                print(row(case.model, case.path(trained), images, labelled), flush=True)


if __name__ == "__main__":
    main()
