"""`autogo-onnx db`: the segment database."""

from __future__ import annotations

from pathlib import Path

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FILE
from autogo_onnx.console import progress_on


@click.group("db")
def database() -> None:
    """The segment database: build it, look into it, add models to it."""


@database.command()
@click.argument("path", type=FILE)
@values.quiet_option
@values.debug_option
def build(path: Path, quiet: bool) -> None:
    """Mine the NAS families and write the database to PATH; the shipped file is made so."""
    from autogo_onnx.files import check_writable
    from autogo_onnx.segment_db.build import build as mine

    check_writable(path)
    with progress_on(quiet=quiet) as progress:
        mine(path, progress=progress)


@database.command()
@values.database_option
@values.debug_option
def info(segment_db: Path | None) -> None:
    """What the database holds."""
    from autogo_onnx.segment_db.store import open_store

    for name, value in open_store(segment_db).info().items():
        click.echo(f"{name:<24} {value}")


@database.command()
@click.argument("identifier")
@values.database_option
@values.debug_option
def show(identifier: str, segment_db: Path | None) -> None:
    """One segment as text."""
    from autogo_onnx.inspection import graph_text
    from autogo_onnx.segment_db.store import open_store

    segment = open_store(segment_db).segment(identifier)
    click.echo(f"{segment.id}  {segment.family}  seen {segment.count} times\n")
    click.echo(graph_text(segment.graph))


@database.command()
@click.argument("models", type=FILE, nargs=-1, required=True)
@click.option(
    "--segment-db",
    type=FILE,
    required=True,
    help="The database to add to; a copy of the shipped one is made where there is none.",
)
@values.debug_option
def add(models: tuple[Path, ...], segment_db: Path) -> None:
    """Add the segments of MODELS to a database; weights are never stored."""
    from autogo_onnx.inspection import read_rewritten
    from autogo_onnx.model import load
    from autogo_onnx.segment_db.store import open_store

    graphs = [(path.stem, read_rewritten(load(path)).opgraph) for path in models]
    new = open_store(segment_db, write=True).add(graphs)
    click.echo(f"{new} new segments")
