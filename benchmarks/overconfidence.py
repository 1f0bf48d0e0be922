"""What classifiers claim, what they keep when pictures are mirrored, and what is true.

    python -m benchmarks.overconfidence [CASE ...] [--trained FOLDER] [--plans FOLDER]

For every model with labels, on its training and on its test images, 10,000 of each: the mean
probability of the likeliest class, the share of images that stay in their class when they are
mirrored, the share of right answers, the temperature that explains the labels best, and what
`autogo_onnx.overconfidence` concludes of 512 of them (it takes colour pictures only).

With `--plans`, models that `optimize --pareto` made of the one case that is named: the loss that is
expected of each on training and test images, as they are and mirrored, at the temperature that
explains the labels of the test images, and what is lost on the test images; in points.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from autogo_onnx.class_drop import class_drop, log_posterior, temperature_of
from autogo_onnx.overconfidence import overconfidence
from benchmarks.cases import SAMPLES, Case, chosen, drawn
from benchmarks.quality import Labelled, Top1, scores_of

COUNT = 10_000
HEAD = ("model", "images", "claims", "keeps", "is right", "fits", "concluded")


def row(name: str, source: Path, images: str, labelled: Labelled) -> str:
    """Of one model on some images."""
    pictures, labels = drawn(labelled, COUNT)
    scores, reflected = (scores_of(source, x) for x in (pictures, pictures[..., ::-1]))
    log_p, top = log_posterior(scores), scores.argmax(axis=1)
    found = None
    if pictures.shape[1] == 3:
        found = overconfidence(scores[:SAMPLES], reflected[:SAMPLES])
    cells = [
        f"{np.exp(log_p).max(axis=1).mean():.2f}",
        f"{(top == reflected.argmax(axis=1)).mean():.2f}",
        f"{(top == labels).mean():.2f}",
        f"{temperature_of(log_p, labels):.2f}",
        "-" if found is None else f"{found.temperature:.1f}",
    ]
    return f"| {' | '.join([name, images, *cells])} |"


def print_plans(case: Case, source: Path, folder: Path) -> None:
    """What is expected of each plan in a folder, and what it loses."""
    assert isinstance(case.quality, Top1), "only such are chosen"
    assert case.train is not None, "only such are chosen"
    (seen, _), (unseen, labels) = drawn(case.train, COUNT), drawn(case.quality.test, COUNT)
    views = [view for pictures in (seen, unseen) for view in (pictures, pictures[..., ::-1])]
    before = [scores_of(source, view) for view in views]
    temperature = temperature_of(log_posterior(before[2]), labels)
    print(f"at temperature {temperature:.2f}:")
    print_head("plan", "training", "mirrored", "test", "mirrored", "lost")
    for path in sorted(folder.glob("*.onnx")):
        after = [scores_of(path, view) for view in views]
        drops = [
            class_drop(one, other, None, temperature=temperature).mean
            for one, other in zip(before, after, strict=True)
        ]
        lost = class_drop(before[2], after[2], labels).mean
        print(f"| {path.stem} | {' | '.join(f'{100 * x:.2f}' for x in (*drops, lost))} |")


def print_head(*cells: str) -> None:
    """The first lines of a table."""
    print(f"| {' | '.join(cells)} |", "|" + " --- |" * len(cells), sep="\n")


@click.command()
@click.argument("names", nargs=-1)
@click.option("--trained", type=click.Path(path_type=Path), help="Of `train_fashion` and others.")
@click.option("--plans", type=click.Path(path_type=Path), help="Of `optimize --pareto`.")
def main(names: tuple[str, ...], trained: Path | None, plans: Path | None) -> None:
    """Print the table."""
    if plans is not None:
        (case,) = chosen(names, trained)
        print_plans(case, case.path(trained), plans)
        return
    print_head(*HEAD)
    for case in chosen(names, trained):
        if isinstance(case.quality, Top1) and case.train is not None:
            for images, labelled in (("training", case.train), ("test", case.quality.test)):
                print(row(case.model, case.path(trained), images, labelled), flush=True)


if __name__ == "__main__":
    main()
