"""`autogo-onnx train`: by gradients, from labels or a teacher; the extra `[train]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from autogo_onnx.commands import values
from autogo_onnx.commands.values import ANY_PATH, DEFAULTS, FILE, FOLDER, Finite
from autogo_onnx.training import options as choices
from autogo_onnx.training.options import TrainOptions

_DEFAULTS = TrainOptions(Path())


@click.command(epilog="Exit codes: 0 done; 2 bad input or usage; 3 a promise was broken.")
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Where the trained model goes.")
@click.option(
    "--data",
    type=ANY_PATH,
    required=True,
    help=".npz (an array per input, and labels or targets), .npy, a folder of images or arrays, or "
    "a folder of images per class.",
)
@click.option(
    "--task",
    type=click.Choice(get_args(choices.TaskName)),
    default=_DEFAULTS.task,
    show_default=True,
    help="Without targets or a teacher, super-resolution and denoising take clean pictures and "
    "spoil them.",
)
@click.option("--labels", type=FILE, help="Class indices in the order of the data (.npy, .csv).")
@click.option("--targets", type=FILE, help="Wanted outputs in the order of the data (.npy).")
@click.option("--teacher", type=FILE, help="A model whose answers are to be met: no labels needed.")
@click.option("--epochs", type=click.IntRange(min=1), default=_DEFAULTS.epochs, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=_DEFAULTS.batch, show_default=True)
@click.option(
    "--learning-rate",
    type=Finite(0, 1000, min_open=True),
    default=_DEFAULTS.learning_rate,
    show_default=True,
    help="Of AdamW, at its highest.",
)
@click.option(
    "--weight-decay",
    type=Finite(0, 1000),
    default=_DEFAULTS.weight_decay,
    show_default=True,
)
@click.option(
    "--label-weight",
    type=Finite(0, 1),
    default=_DEFAULTS.label_weight,
    show_default=True,
    help="Share of the labels beside a teacher.",
)
@click.option(
    "--temperature",
    type=Finite(0.01, 1000),
    default=_DEFAULTS.temperature,
    show_default=True,
    help="Of the class scores that are compared with the teacher's.",
)
@click.option(
    "--normalization",
    type=click.Choice(get_args(choices.Normalization)),
    default=_DEFAULTS.normalization,
    show_default=True,
    help="BatchNormalization: by batches, by its stored statistics, or added behind every "
    "convolution and folded away in the end.",
)
@click.option("--from-scratch", is_flag=True, help="Draw new weights first.")
@click.option(
    "--augment",
    type=click.Choice(get_args(choices.Augmentation)),
    default=_DEFAULTS.augment,
    show_default=True,
    help="Random changes of the images: mirrored, moved by up to an eighth.",
)
@click.option(
    "--noise",
    type=Finite(0, 100, min_open=True),
    default=_DEFAULTS.noise,
    help="Deviation of the noise for denoising, of the images' range.  [default: 25/255]",
)
@click.option(
    "--held-out",
    type=Finite(0, 0.9),
    default=_DEFAULTS.held_out,
    show_default=True,
    help="Share of the data for the metric, at least 2 samples.",
)
@click.option("--mean", type=values.numbers, default=DEFAULTS.mean, help="Of each image channel.")
@click.option("--std", type=values.numbers, default=DEFAULTS.std, help="Of each image channel.")
@click.option("--scale", type=float, default=DEFAULTS.scale, help="Of pixels.  [default: 1/255]")
@click.option("--layout", type=click.Choice(["auto", "nchw", "nhwc"]), default=DEFAULTS.layout)
@click.option(
    "--device",
    type=click.Choice(get_args(choices.Device)),
    default=_DEFAULTS.device,
    show_default=True,
)
@click.option("--threads", type=click.IntRange(min=1), help="Of torch.  [default: all cores]")
@values.seed_option
@click.option("--work-dir", type=FOLDER, help="Keeps the state: the same command goes on from it.")
@click.option("--report", "report_path", type=FILE, help="Write the figures as JSON.")
@values.quiet_option
@values.debug_option
def train(model: Path, output: Path, report_path: Path | None, quiet: bool, **given: Any) -> None:
    """Train MODEL by gradients and write it, with new weights, to OUTPUT.

    From labels, from targets, or from a teacher that needs neither. The graph is trained as it is;
    ONNX Runtime must compute what torch did, or nothing is written.
    """
    from autogo_onnx import model as model_file
    from autogo_onnx.console import progress_on
    from autogo_onnx.files import write_text
    from autogo_onnx.training import require_torch

    require_torch()
    read = [given[name] for name in ("data", "labels", "targets", "teacher") if given[name]]
    _check_places([path for path in (output, report_path) if path is not None], read)
    from autogo_onnx.training.summary import to_json, to_text
    from autogo_onnx.training.workflow import train as run

    with progress_on(quiet=quiet) as progress:
        trained = run(model, TrainOptions(**given), progress)
    external = model_file.has_external_data(model)
    model_file.save(trained.model, output, external_data=external, source=model)
    if report_path is not None:
        write_text(report_path, to_json(trained))
    click.echo(to_text(trained), nl=False)


def _check_places(written: Sequence[Path], read: Sequence[Path]) -> None:
    """Refuse to write twice to one place, or over what the run learns from."""
    from autogo_onnx.errors import InputError
    from autogo_onnx.files import check_writable

    taken = {path.resolve() for path in read}
    for path in written:
        check_writable(path)
        if path.resolve() in taken:
            raise InputError(f"{path}: is something else in this run too: give it another name")
        taken.add(path.resolve())
