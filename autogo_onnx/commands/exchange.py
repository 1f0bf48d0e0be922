"""`autogo-onnx db merge`, `export` and `migrate`: database files and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FILE, FOLDER
from autogo_onnx.console import progress_on


@click.command()
@click.argument("databases", type=FILE, nargs=-1, required=True)
@click.option("--output", "-o", type=FILE, required=True, help="The database to write.")
@values.quiet_option
@values.debug_option
def merge(databases: tuple[Path, ...], output: Path, quiet: bool) -> None:
    """Put DATABASES together into a new one: every structure and every network counts once."""
    from autogo_onnx.files import check_writable
    from autogo_onnx.segment_db import merging
    from autogo_onnx.segment_db.store import open_store

    check_writable(output)
    with progress_on(quiet=quiet) as progress:
        merging.merge(databases, output, progress)
    info = open_store(output).info()
    click.echo(f"{output}: {info['segments']} segments of {info['networks']} networks")


@click.command()
@click.option("--output", "-o", type=FILE, help="JSON lines, one segment each.")
@click.option("--onnx", "folder", type=FOLDER, help="A folder for one .onnx file per segment.")
@values.database_option
@values.seed_option
@values.quiet_option
@values.debug_option
def export(
    output: Path | None, folder: Path | None, segment_db: Path | None, seed: int, quiet: bool
) -> None:
    """Write the segments for other programs; models get random weights of SEED."""
    from autogo_onnx.files import check_writable
    from autogo_onnx.segment_db import export as exporting
    from autogo_onnx.segment_db.store import open_store

    if output is None and folder is None:
        raise click.UsageError("nothing to write: give --output, --onnx or both")
    if output is not None:
        check_writable(output)
    store = open_store(segment_db)
    with progress_on(quiet=quiet) as progress:
        if output is not None:
            count = exporting.write_lines(store, output, progress)
            click.echo(f"{output}: {count} segments")
        if folder is not None:
            refused = exporting.write_models(store, folder, seed, progress)
            click.echo(f"{folder}: {len(store.everything()) - len(refused)} models")
            for identifier, reason in refused.items():
                click.echo(f"  left out: {identifier}: {reason}", err=True)


@click.command()
@click.argument("path", type=FILE)
@values.debug_option
def migrate(path: Path) -> None:
    """Bring the database PATH up to date, in place; nothing changes when that fails."""
    from autogo_onnx.segment_db import migration

    before, after = migration.migrate(path)
    click.echo(f"{path}: schema {before} -> {after}" if before != after else f"{path}: up to date")
