"""`autogo-onnx db`: the segment database."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.build import build
from autogo_onnx.commands.exchange import export, merge, migrate
from autogo_onnx.commands.network import network
from autogo_onnx.commands.values import ANY_PATH, FILE
from autogo_onnx.console import progress_on


@click.group("db")
def database() -> None:
    """The segment database: build it, look into it, add models to it."""


@database.command()
@values.database_option
@values.debug_option
def info(segment_db: Path | None) -> None:
    """What the database holds."""
    from autogo_onnx.segment_db.store import open_store

    for name, value in open_store(segment_db).info().items():
        _print(f"{name:<24} {value}")


@database.command()
@click.argument("identifier")
@click.option("--svg", type=FILE, help="Also draw it into a file.")
@values.database_option
@values.debug_option
def show(identifier: str, svg: Path | None, segment_db: Path | None) -> None:
    """One segment: where it was seen, its MACs, a drawing, every operator.

    IDENTIFIER is its id or the beginning of it. `●` is an operator, `○` an input, `◇` an output.
    """
    from autogo_onnx.drawing.svg import draw
    from autogo_onnx.files import check_writable, write_text
    from autogo_onnx.segment_db.description import segment_text
    from autogo_onnx.segment_db.store import open_store

    if svg:
        check_writable(svg)
    store = open_store(segment_db)
    segment = store.segment(identifier)
    text = segment_text(segment, store.sightings(segment.id), store.boundaries(segment.id))
    _print(text)
    if svg:
        write_text(svg, draw(segment.graph, (segment.id, f"seen {segment.count} times")))


@database.command()
@click.argument("models", type=ANY_PATH, nargs=-1, required=True)
@click.option(
    "--segment-db",
    type=FILE,
    required=True,
    help="The database to add to; a copy of the shipped one is made where there is none.",
)
@values.quiet_option
@values.debug_option
def add(models: tuple[Path, ...], segment_db: Path, quiet: bool) -> None:
    """Add the segments of MODELS, files or folders of them; weights are never stored.

    The vocabulary grows by what the models repeat. A network that was added before counts once. A
    file that cannot be read is left out and named; if none can be, that is an error.
    """
    from autogo_onnx.files import check_writable
    from autogo_onnx.inspection import read_rewritten
    from autogo_onnx.model import load
    from autogo_onnx.segment_db import adding
    from autogo_onnx.segment_db.store import open_store

    # Before any model is read, which may take long; a copy is only made for models that can be.
    store = open_store(segment_db, write=True) if segment_db.exists() else None
    check_writable(segment_db)
    files = adding.model_files(models)
    with progress_on(quiet=quiet) as progress:
        networks = adding.read_networks(
            files, lambda path: read_rewritten(load(path)).opgraph, progress
        )
        store = store or open_store(segment_db, write=True)
        added = adding.add(store, networks, progress)
    click.echo(adding.summary(networks, added))


def _print(text: str) -> None:
    """Write what a database says to stdout, which may be closed."""
    from autogo_onnx.drawing.rails import printable

    click.echo(printable(text, getattr(sys.stdout, "encoding", None) or "ascii"))


for command in (build, export, merge, migrate, network):
    database.add_command(command)
