"""`autogo-onnx segments`: the segmentation of a model as text."""

from __future__ import annotations

from pathlib import Path

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FILE


@click.command()
@click.argument("model", type=FILE)
@values.database_option
@values.debug_option
def segments(model: Path, segment_db: Path | None) -> None:
    """How the vocabulary cuts MODEL: a line per operator, an empty line between segments."""
    from autogo_onnx import inspection
    from autogo_onnx.model import load
    from autogo_onnx.segment_db.store import open_store

    vocabulary = open_store(segment_db).vocabulary()
    pieces = inspection.segments(load(model), vocabulary)
    click.echo(inspection.tokens_text(pieces))
