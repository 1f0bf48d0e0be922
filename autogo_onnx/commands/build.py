"""`autogo-onnx db build`: the segment database from the families of networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FILE, FOLDER
from autogo_onnx.console import progress_on


@click.command()
@click.argument("path", type=FILE)
@click.option(
    "--families", metavar="NAME,...", help="Families to mine, instead of those of the shipped file."
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help="Networks of each family, at most.  [default: as in the shipped file]",
)
@click.option(
    "--least-share",
    type=click.FloatRange(min=0),
    help="Leave out segments that occur more rarely per network in every family."
    "  [default: as in the shipped file]",
)
@values.seed_option
@values.jobs_option
@values.scheduler_option
@click.option(
    "--work-dir",
    type=FOLDER,
    help="Keeps what is done of an interrupted build.  [default: PATH.parts]",
)
@values.quiet_option
@values.debug_option
def build(path: Path, quiet: bool, **given: Any) -> None:
    """Mine the NAS families and write the database to PATH; the shipped file is made so.

    Given again, the command of an interrupted build goes on where it was. The same families, counts
    and seed give the same bytes, whoever does the work.
    """
    from autogo_onnx.files import check_writable
    from autogo_onnx.segment_db import build as building
    from autogo_onnx.segment_db.workers import local, on_cluster

    jobs, scheduler, folder = given.pop("jobs"), given.pop("scheduler"), given.pop("work_dir")
    values.check_workers(jobs, scheduler)
    check_writable(path)
    settings = building.chosen(**given)
    used = on_cluster(scheduler, building.code_version) if scheduler else local(jobs or 1)
    with used as workers, progress_on(quiet=quiet) as progress:
        mined = building.build(path, settings, workers=workers, parts=folder, progress=progress)
    click.echo(f"{path}: {len(mined.segments):,} segments of {mined.networks:,} networks")
