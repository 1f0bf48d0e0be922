"""`autogo-onnx demo`: the main job on the model and the samples that the package ships."""

from __future__ import annotations

from pathlib import Path

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import FOLDER


@click.command()
@click.option(
    "--into",
    type=FOLDER,
    default=Path("autogo-onnx-demo"),
    show_default=True,
    help="Folder for the model, the samples and the result.",
)
@click.option("--budget", default="2m", show_default=True, help="As of `optimize`.")
@values.quiet_option
@values.debug_option
@click.pass_context
def demo(ctx: click.Context, into: Path, budget: str, quiet: bool) -> None:
    """Optimize the shipped network for handwritten digits, and test it on held-out samples."""
    from autogo_onnx import demo as shipped
    from autogo_onnx.commands.optimize import optimize

    model, calibration, held_out = shipped.copy_to(into)
    output = into / "digits.optimized.onnx"
    paths = [str(model), "-o", str(output), "--calibration", str(calibration)]
    arguments = [*paths, "--budget", budget, *(["--quiet"] if quiet else [])]
    click.echo(f"$ autogo-onnx optimize {' '.join(arguments)}\n")
    optimize.main(arguments, standalone_mode=False, obj=ctx.obj)
    before, after = (shipped.accuracy(path, held_out) for path in (model, output))
    click.echo(f"\ntop-1 on 397 samples that nobody has seen: {before:.4f} -> {after:.4f}")
