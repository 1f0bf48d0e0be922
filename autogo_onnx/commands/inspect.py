"""`autogo-onnx inspect`: what a model consists of and costs."""

from __future__ import annotations

from pathlib import Path

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FILE


@click.command()
@click.argument("model", type=FILE)
@values.database_option
@values.debug_option
def inspect(model: Path, segment_db: Path | None) -> None:
    """Operators, MACs and parameters of MODEL, and the share of each segment."""
    from autogo_onnx import inspection
    from autogo_onnx.model import load
    from autogo_onnx.segment_db.store import open_store

    vocabulary = open_store(segment_db).vocabulary()
    click.echo(inspection.to_text(inspection.inspect(load(model), vocabulary)))
