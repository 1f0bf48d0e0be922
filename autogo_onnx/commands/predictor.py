"""`autogo-onnx predictor`: the model that ranks replacements before they are fitted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FILE, FOLDER


@click.group()
def predictor() -> None:
    """The predictor that ranks replacements before they are fitted."""


@predictor.command()
@values.predictor_option
@values.debug_option
def info(predictor: Path | None) -> None:
    """What a predictor predicts, how well it did in training, and where it comes from.

    Of a device: rank correlation and median error on held-out networks of each family.
    """
    from autogo_onnx import devices
    from autogo_onnx.drawing.rails import printable
    from autogo_onnx.predictor import open_predictor
    from autogo_onnx.predictor.description import describe

    opened = open_predictor(predictor)
    known = devices.read(opened.info)
    listed = devices.describe(known) if known else ()
    text = "\n".join([describe(opened), *listed])
    click.echo(printable(text, getattr(sys.stdout, "encoding", None) or "ascii"))


@predictor.command()
@click.argument("path", type=FILE)
@click.option("--tables", type=FOLDER, required=True, help="Folder of published tables.")
@click.option("--family", "families", multiple=True, help="Learn this family's accuracies only.")
@click.option("--trials", type=FILE, help="File of trials, for a head that predicts fit errors.")
@click.option("--devices/--no-devices", default=True, help="Fit prices of devices.")
@click.option("--cache", type=FOLDER, help="Keep rows of features in this folder.")
@values.seed_option
@values.debug_option
def train(path: Path, seed: int, **chosen: Any) -> None:
    """Train on published tables, write the predictor to PATH; the shipped file is made so."""
    from autogo_onnx.files import check_writable
    from autogo_onnx.predictor_training.labels import MEASURED
    from autogo_onnx.predictor_training.training import Sources
    from autogo_onnx.predictor_training.training import train as fit

    check_writable(path)
    sources = Sources(
        tables=chosen["tables"],
        families=chosen["families"] or MEASURED,
        trials=chosen["trials"],
        with_devices=chosen["devices"],
        cache=chosen["cache"],
    )
    fit(sources, path, seed=seed)


@predictor.command()
@click.argument("path", type=FILE, required=False)
@click.option("--tables", type=FOLDER, required=True, help="Folder of published tables.")
@click.option("--family", "families", multiple=True, help="Judge by this family only.")
@click.option("--cache", type=FOLDER, help="Keep rows of features in this folder.")
@values.seed_option
@values.debug_option
def evaluate(
    path: Path | None, tables: Path, families: tuple[str, ...], cache: Path | None, seed: int
) -> None:
    """How the predictor in PATH, or the shipped one, ranks the networks of published tables.

    Networks that it was trained on are left out, as far as it tells which.
    """
    from autogo_onnx.predictor import open_predictor
    from autogo_onnx.predictor_training import evaluation
    from autogo_onnx.predictor_training.labels import MEASURED, read

    opened = open_predictor(path)
    click.echo(evaluation.HEADER)
    for labels in read(tables, families or MEASURED):
        click.echo(evaluation.line(evaluation.evaluate(opened, labels, seed, cache)))
