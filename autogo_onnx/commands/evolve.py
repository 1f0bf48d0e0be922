"""`autogo-onnx evolve`: the paper's setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FOLDER, Finite, duration
from autogo_onnx.evolved.options import EvolveOptions, UnitName

if TYPE_CHECKING:
    from autogo_onnx.evolved.report import EvolveReport

_DEFAULTS = EvolveOptions()
_RANGE = re.compile(r"\s*([-+]?[\d.]+)\s*\.\.\s*([-+]?[\d.]+)\s*")
_EXIT_CODES = "Exit codes: 0 done, also when nothing better was found; 2 bad input or usage."


def change_range(text: str | tuple[float, float]) -> tuple[float, float]:
    """The lowest and highest change, as shares.

    >>> change_range("-0.2..0.1")
    (-0.2, 0.1)
    """
    if isinstance(text, tuple):
        return text
    match = _RANGE.fullmatch(text)
    try:
        low, high = (float(part) for part in match.groups()) if match else (1.0, 0.0)
    except ValueError:
        low, high = 1.0, 0.0
    if not -1 < low <= 0 <= high:
        raise click.BadParameter(f"{text!r} is no range of changes round 0; write -0.2..0.1")
    return low, high


def names(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Names with commas between.

    >>> names("Conv, Relu")
    ('Conv', 'Relu')
    """
    if isinstance(text, tuple):
        return text
    return tuple(part for part in (one.strip() for one in text.split(",")) if part)


@click.command(epilog=_EXIT_CODES)
@click.argument("model")
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for models and report.")
@click.option(
    "--iterations", type=click.IntRange(min=1), default=_DEFAULTS.iterations, show_default=True
)
@click.option(
    "--parents",
    type=click.IntRange(min=1),
    default=_DEFAULTS.parents,
    show_default=True,
    help="Networks that are changed in every iteration.",
)
@click.option(
    "--children",
    type=click.IntRange(min=1),
    default=_DEFAULTS.children,
    show_default=True,
    help="New networks wanted of each parent.",
)
@click.option(
    "--unit",
    type=click.Choice(get_args(UnitName)),
    default=_DEFAULTS.unit,
    show_default=True,
    help="Replace mined segments, or single operators.",
)
@click.option(
    "--consecutive",
    type=click.IntRange(1, 3),
    default=_DEFAULTS.consecutive,
    show_default=True,
    help="Most neighbouring segments that are replaced together.",
)
@click.option(
    "--max-macs-change",
    type=change_range,
    default=_DEFAULTS.max_macs_change,
    metavar="LOW..HIGH",
    help="Shares of the network's MACs that may be taken away and added.  [default: -0.2..0.1]",
)
@click.option(
    "--max-params-change", type=Finite(0), help="Largest share of parameters that may be added."
)
@click.option(
    "--max-latency-change",
    type=Finite(-1),
    help="Largest share of the latency that may be added, on the target.",
)
@click.option(
    "--target",
    type=values.target,
    metavar="cpu|macs|params|device:NAME",
    default=_DEFAULTS.target,
    show_default=True,
    help="Tell latency as measured in ONNX Runtime, or as predicted for a device, which the search"
    " then trades for accuracy too; or tell none.",
)
@click.option(
    "--allow-ops", type=names, default=(), metavar="NAME,...", help="Replacements hold these only."
)
@click.option(
    "--forbid-ops",
    type=names,
    default=(),
    metavar="NAME,...",
    help="Replacements hold none of these.",
)
@values.database_option
@values.predictor_option
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=_DEFAULTS.keep,
    show_default=True,
    help="Most models that are written, spread over the Pareto set.",
)
@click.option(
    "--budget",
    "budget_s",
    type=duration,
    help="Wall-clock time for the whole run, as 90s or 10m.  [default: as long as it takes]",
)
@values.threads_option
@values.seed_option
@values.jobs_option
@values.scheduler_option
@click.option("--work-dir", type=FOLDER, help="Keeps the state: the same command goes on from it.")
@values.quiet_option
@values.debug_option
def evolve(model: str, output: Path, quiet: bool, **given: Any) -> None:
    """Evolve MODEL into a Pareto set of networks, written to a folder.

    MODEL is an ONNX file, or the name of a published network as `db network` has it: `resnet50`,
    `edsr_x2@360x640`. The set trades predicted accuracy for MACs. Its networks keep the weights of
    what did not change; train them, and OUTPUT/base.onnx, with `autogo-onnx train`.
    """
    from autogo_onnx.console import progress_on
    from autogo_onnx.evolved import folder
    from autogo_onnx.evolved.text import to_text
    from autogo_onnx.evolved.workflow import evolve as run

    values.check_workers(given["jobs"], given["scheduler"])
    options = EvolveOptions(**{**given, "jobs": given["jobs"] or 1})
    folder.check(output, model)
    with progress_on(quiet=quiet) as progress:

        def deliver(report: EvolveReport) -> None:
            progress.stage("write", len(report.models))
            folder.write(report, output)

        report = run(model, options=options, progress=progress, deliver=deliver)
    click.echo(to_text(report), nl=False)
