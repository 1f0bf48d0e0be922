"""`autogo-onnx compare`: fidelity and paired latency of two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FILE, duration
from autogo_onnx.options import Options


@click.command()
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@values.sample_options
@values.evaluate_option
@values.threads_option
@values.seed_option
@click.option(
    "--seconds",
    type=duration,
    default=5.0,
    show_default=True,
    help="How long latency is measured.",
)
@values.debug_option
def compare(a: Path, b: Path, seconds: float, **given: Any) -> None:
    """How close model B answers to model A, and how fast."""
    from autogo_onnx import compare as two_models
    from autogo_onnx.compare_text import to_text

    options = Options(**given)
    click.echo(to_text(two_models.compare(a, b, options=options, seconds=seconds)))
