"""`autogo-onnx segments`: the segmentation of a model as text, and as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FILE


@click.command()
@click.argument("model", type=FILE)
@click.option("--svg", type=FILE, help="Also draw the network, its segments in colours.")
@values.database_option
@values.debug_option
def segments(model: Path, svg: Path | None, segment_db: Path | None) -> None:
    """How the vocabulary cuts MODEL: a line per operator, an empty line between segments."""
    from autogo_onnx import inspection
    from autogo_onnx.files import check_writable, write_text
    from autogo_onnx.model import load
    from autogo_onnx.segment_db.store import open_store

    if svg:
        check_writable(svg)
    vocabulary = open_store(segment_db).vocabulary()
    reading = inspection.read_rewritten(load(model))
    click.echo(inspection.tokens_text(inspection.cut_up(reading, vocabulary)[0]))
    if svg:
        write_text(svg, inspection.segments_svg(reading, vocabulary, model.name))
