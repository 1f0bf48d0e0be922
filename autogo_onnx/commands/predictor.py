"""`autogo-onnx predictor`: the model that ranks replacements before they are fitted."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

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
    """Where a predictor comes from and what it reads."""
    from autogo_onnx.predictor import open_predictor

    for name, value in open_predictor(predictor).info.items():
        click.echo(f"{name:<24} {shorten(value, 100, placeholder=' ...')}")


@predictor.command()
@click.argument("path", type=FILE)
@click.option("--tables", type=FOLDER, required=True, help="Folder of labelled architectures.")
@values.seed_option
@values.debug_option
def train(path: Path, tables: Path, seed: int) -> None:
    """Train on labelled architectures, write the predictor to PATH; the shipped file is made so."""
    from autogo_onnx.files import check_writable
    from autogo_onnx.predictor_training import train as fit

    check_writable(path)
    fit(tables, path, seed=seed)
