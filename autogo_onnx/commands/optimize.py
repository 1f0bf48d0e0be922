"""`autogo-onnx optimize`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import ANY_PATH, DEFAULTS, FILE, FOLDER, duration, size
from autogo_onnx.deadline import Clock
from autogo_onnx.options import Options

if TYPE_CHECKING:
    from autogo_onnx.report import Report

_EXIT_CODES = (
    "Exit codes: 0 done, also when nothing could be improved; 1 --check would change something; "
    "2 bad input or usage; 3 a promise was broken. After 2 and 3 nothing was written."
)


@click.command(epilog=_EXIT_CODES)
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, help="Where the new model is written.")
@values.sample_options
@values.evaluate_option
@click.option(
    "--distill",
    type=ANY_PATH,
    help="More unlabelled samples, as for --calibration: what saves too much to pass is trained "
    "back on them, within --budget. Needs the extra [train].",
)
@click.option(
    "--distill-labels",
    type=FILE,
    help="Class indices in the order of --distill (.npy, .csv), for the training to see.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Rounds over --distill for one plan.  [default: what suits the number of samples]",
)
@click.option(
    "--gate",
    type=click.Choice(["auto", "accuracy", "agreement", "values"]),
    default=DEFAULTS.gate,
    show_default=True,
    help="What decides of an output [N,K]: --max-drop bounds the accuracy lost, or, stricter, the "
    "share of answers that change; or it is values, no scores of classes, and --min-psnr decides. "
    "auto: accuracy or values, as the samples tell.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=DEFAULTS.max_drop,
    show_default=True,
    help="Largest loss of the gating figure.",
)
@click.option(
    "--min-psnr",
    type=float,
    default=DEFAULTS.min_psnr,
    show_default=True,
    help="Floor in dB for outputs that are no class scores, without a metric; 45 keep at least "
    "99 % of their variance.",
)
@click.option(
    "--target",
    type=values.target,
    metavar="cpu|macs|params|device:NAME",
    default=DEFAULTS.target,
    show_default=True,
    help="Minimize latency measured in ONNX Runtime, or multiply-accumulates, or parameters, or "
    "the latency that is predicted for a device from published measurements (`predictor info` "
    "lists devices).",
)
@click.option(
    "--level",
    type=click.Choice(["exact", "fitted", "unverified"]),
    help="[default: fitted with --calibration, else exact]",
)
@click.option(
    "--opset",
    type=click.IntRange(min=1),
    help="Convert to this version of the ONNX operators first, and verify it: newer ones have more "
    "to rewrite to (HardSwish 14, LayerNormalization 17, Gelu 20).  [default: the model's]",
)
@values.threads_option
@click.option(
    "--memory",
    "memory_bytes",
    type=size,
    default=DEFAULTS.memory_bytes,
    help="Most memory for activations, as 2G or 500M; on disk they may take four times as much.  "
    "[default: 2G]",
)
@click.option(
    "--budget",
    "budget_s",
    type=duration,
    default=DEFAULTS.budget_s,
    help="Wall-clock time for the whole run, as 90s or 10m.  [default: 10m]",
)
@click.option(
    "--work-dir",
    type=FOLDER,
    help="Keeps what was found by now: if the run is interrupted, the same command goes on from "
    "there, with what is left of --budget. Emptied when the run is done.",
)
@values.seed_option
@click.option("--pareto", type=FOLDER, help="Folder for every model of the Pareto set.")
@click.option("--report", "report_path", type=FILE, help="Write the report: .json, .html or .txt.")
@click.option(
    "--latency-table",
    type=FILE,
    help="Use the prices of an earlier run where the file exists, and write this run's prices to "
    "it: then the same command gives the same bytes.  [default: OUTPUT with .latency.json]",
)
@values.database_option
@values.predictor_option
@click.option(
    "--quantize-check",
    is_flag=True,
    help="Tell in the report how fast and how close both models are in int8, as ONNX Runtime's "
    "static quantizer makes them; takes its time on top of --budget, and writes no int8 model.",
)
@click.option("--explain", is_flag=True, help="List every replacement and all that was left alone.")
@click.option("--check", is_flag=True, help="Write no model; exit with 1 if it would be changed.")
@values.quiet_option
@values.debug_option
def optimize(model: Path, output: Path | None, check: bool, **given: Any) -> int:
    """Make a trained MODEL faster, verify it, write it to OUTPUT.

    Without --calibration the network's function is not changed: only exact rewrites are applied.
    """
    clock = Clock()  # What is loaded next counts.
    from autogo_onnx import results
    from autogo_onnx.console import progress_on
    from autogo_onnx.optimization import optimize as run
    from autogo_onnx.report_text import to_text

    if output is None and not check:
        raise click.UsageError("give the new model a place: -o OUTPUT (or only look: --check)")
    pareto, report_path = given.pop("pareto"), given.pop("report_path")
    explain, quiet = given.pop("explain"), given.pop("quiet")
    places = results.Places(
        model=None if check else output,
        latency_table=given["latency_table"],
        pareto=None if check else pareto,
        report=report_path,
    )
    results.check(places)
    options = results.reusing_prices(Options(**given))

    def deliver(report: Report) -> None:
        results.write(report, places, like=model)

    with progress_on(quiet=quiet) as progress:
        report = run(model, options=options, progress=progress, clock=clock, deliver=deliver)
    click.echo(to_text(report, explain=explain), nl=False)
    return int(check and report.changed)
